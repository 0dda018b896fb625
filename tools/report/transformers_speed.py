#!/usr/bin/env python3
"""Speed of transformers on a CPU or GPU, in the form of `flame bench --json`: rows of the paper's Table 1 for `flame report`.

    python tools/report/transformers_speed.py models/switch-dialogsum-8 -o DIR/data/transformers.json
    python tools/report/transformers_speed.py models/switch-dialogsum-8 --device cuda -o DIR/data/gpu.json
    python tools/report/transformers_speed.py switch-base-8/config.json --device cuda -o gpu-base.json

A config.json alone is measured with random weights. One prompt of random ids, greedy decoding of a fixed number of tokens at
batch 1. The time in the decoder's MoE layers is taken in rounds of its own, so that the clocks do not slow the others.
Every dtype asked for gives a row for the whole decoder and one for its MoE layers.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import sys
import time

import torch
import transformers
from transformers.modeling_outputs import MoEModelOutput

TYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


class Measurement:
    """One model on one device, decoding the same number of tokens again and again."""

    def __init__(self, model, prompt_tokens, new_tokens):
        self.model, self.new_tokens = model, new_tokens
        self.device = next(model.parameters()).device
        generator = random.Random(1)
        ids = [generator.randrange(3, model.config.vocab_size) for _ in range(prompt_tokens - 1)]
        self.ids = torch.tensor([ids + [model.config.eos_token_id]], device=self.device)

    def now(self):
        """Seconds, once the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def decode(self):
        """Returns (encoder seconds, decoder seconds a token)."""
        begun = self.now()
        encoded = self.model.encoder(input_ids=self.ids).last_hidden_state
        middle = self.now()
        self.model.generate(encoder_outputs=MoEModelOutput(last_hidden_state=encoded),
                            attention_mask=torch.ones_like(self.ids), num_beams=1, no_repeat_ngram_size=0,
                            max_new_tokens=self.new_tokens, min_new_tokens=self.new_tokens)  # fmt: skip
        return middle - begun, (self.now() - middle) / self.new_tokens

    def moe_layers(self):
        """Returns the seconds a token spends in the decoder's MoE layers."""
        marks = []
        layers = [module for module in self.model.decoder.modules() if type(module).__name__.endswith("SparseMLP")]
        if not layers:
            sys.exit("this version of transformers has no layer named ...SparseMLP in the decoder")
        hooks = [hook for layer in layers for hook in
                 (layer.register_forward_pre_hook(lambda *_: marks.append(self._mark())),
                  layer.register_forward_hook(lambda *_: marks.append(self._mark())))]  # fmt: skip
        self.decode()
        self.now()
        for hook in hooks:
            hook.remove()
        return sum(self._between(a, b) for a, b in zip(marks[::2], marks[1::2])) / self.new_tokens

    def _mark(self):
        if self.device.type == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, begun, ended):
        return ended - begun if self.device.type == "cpu" else begun.elapsed_time(ended) / 1000


def spread(seconds):
    return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}


def load(path, dtype, device):
    if path.is_dir():
        model = transformers.SwitchTransformersForConditionalGeneration.from_pretrained(path, dtype=dtype).to(device)
    else:
        config = transformers.SwitchTransformersConfig.from_pretrained(path)
        config.decoder_layers = config.num_decoder_layers  # transformers 5 sizes the key-value cache by it
        torch.manual_seed(1)
        with torch.device(device):
            model = transformers.SwitchTransformersForConditionalGeneration(config).to(dtype)
    return model.eval()


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, help="a Hugging Face directory, or a config.json for random weights")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="JSON file to write")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=TYPES, nargs="+", default=list(TYPES))
    parser.add_argument("--prompt", type=int, default=200, help="tokens of the prompt (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens to decode (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    results = []
    for dtype in arguments.dtype:
        measurement = Measurement(load(arguments.model, TYPES[dtype], arguments.device), arguments.prompt, arguments.tokens)
        measurement.decode()
        encoder, decoder = zip(*(measurement.decode() for _ in range(arguments.repeats)))
        layers = [measurement.moe_layers() for _ in range(arguments.repeats)]
        for scope, seconds in (("decoder", decoder), ("moe", layers)):
            results.append({"configuration": f"transformers, {dtype}", "scope": scope, "dtype": dtype,
                            "encoder_seconds": statistics.median(encoder), "seconds_per_token": spread(seconds)})  # fmt: skip
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads"
    document = {"device": device, "program": "tools/report/transformers_speed.py", "model": arguments.model.name,
                "torch": torch.__version__, "transformers": transformers.__version__, "prompt_tokens": arguments.prompt,
                "new_tokens": arguments.tokens, "repeats": arguments.repeats, "results": results}  # fmt: skip
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
