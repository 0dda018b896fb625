#!/usr/bin/env python3
"""Speed of transformers on a GPU for a Switch Transformer of a given shape: the GPU row of the paper's Table 1.

    python tools/parity/gpu_speed.py CONFIG.json -o gpu.json

Weights are random (speed does not depend on them, except through which experts the router picks). One prompt of random
ids, greedy decoding of a fixed number of tokens. Time in the decoder's MoE layers is taken with CUDA events around each of
them in rounds of their own, so that the events do not slow the rounds that give tokens/s.
"""

import argparse
import json
import pathlib
import random
import statistics
import time

import torch
import transformers
from transformers.modeling_outputs import MoEModelOutput

TYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


def decode(model, prompt, tokens):
    """Returns (encoder seconds, decoder seconds) of one prompt."""
    ids = torch.tensor([prompt], device="cuda")
    torch.cuda.synchronize()
    begun = time.perf_counter()
    encoded = model.encoder(input_ids=ids).last_hidden_state
    torch.cuda.synchronize()
    middle = time.perf_counter()
    model.generate(encoder_outputs=MoEModelOutput(last_hidden_state=encoded), attention_mask=torch.ones_like(ids),
                   num_beams=1, max_new_tokens=tokens, min_new_tokens=tokens)  # fmt: skip
    torch.cuda.synchronize()
    return middle - begun, time.perf_counter() - middle


class LayerClock:
    """CUDA events before and after every MoE layer of the decoder."""

    def __init__(self, model):
        self.events = []
        self.hooks = []
        for module in model.decoder.modules():
            if type(module).__name__.endswith("SparseMLP"):
                self.hooks += [module.register_forward_pre_hook(lambda *_: self._mark()),
                               module.register_forward_hook(lambda *_: self._mark())]  # fmt: skip
        if not self.hooks:
            raise SystemExit("the decoder has no MoE layer by the name of SparseMLP in this version of transformers")

    def _mark(self):
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.events.append(event)

    def seconds(self):
        """Seconds in MoE layers since the start; removes the hooks."""
        torch.cuda.synchronize()
        for hook in self.hooks:
            hook.remove()
        return sum(a.elapsed_time(b) for a, b in zip(self.events[::2], self.events[1::2])) / 1000


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=pathlib.Path, help="config.json of the shape to measure")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="JSON file to write")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    config = transformers.SwitchTransformersConfig.from_pretrained(arguments.config)
    config.decoder_layers = config.num_decoder_layers  # transformers 5 sizes the key-value cache by it
    torch.manual_seed(1)
    with torch.device("cuda"):
        model = transformers.SwitchTransformersForConditionalGeneration(config).eval()
    generator = random.Random(1)
    prompt = [generator.randrange(3, config.vocab_size) for _ in range(arguments.prompt - 1)] + [1]
    rows = []
    for dtype, torch_dtype in TYPES.items():
        model.to(torch_dtype)
        decode(model, prompt, arguments.tokens)
        encoder, decoder = zip(*(decode(model, prompt, arguments.tokens) for _ in range(arguments.repeats)))
        layers = []
        for _ in range(arguments.repeats):
            clock = LayerClock(model)
            decode(model, prompt, arguments.tokens)
            layers.append(clock.seconds() / arguments.tokens)
        rows.append({"dtype": dtype, "encoder_seconds": statistics.median(encoder),
                     "tokens_per_second": [arguments.tokens / seconds for seconds in sorted(decoder, reverse=True)],
                     "decoder_seconds_per_token": statistics.median(decoder) / arguments.tokens,
                     "moe_layer_seconds_per_token": statistics.median(layers)})  # fmt: skip
    result = {"kind": "gpu_speed", "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
              "transformers": transformers.__version__, "config": arguments.config.name,
              "parameters": sum(parameter.numel() for parameter in model.parameters()),
              "prompt_tokens": arguments.prompt, "new_tokens": arguments.tokens, "repeats": arguments.repeats,
              "rows": rows}  # fmt: skip
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
