"""What the scripts of this folder share: transformers as the reference, and the flame program beside it."""

import json
import pathlib
import subprocess
import tempfile

import torch
import transformers
from transformers import AutoTokenizer, SwitchTransformersForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

PINNED = "5.24.0"
ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT_FLAME = ROOT / "build" / "release" / "bin" / "flame"


def check_version():
    if transformers.__version__ != PINNED:
        print(f"warning: transformers {transformers.__version__}; FLAME follows {PINNED} (requirements.txt)")


def load_model(path, dtype=torch.float32):
    return SwitchTransformersForConditionalGeneration.from_pretrained(path, dtype=dtype).eval()


def load_tokenizer(path):
    return AutoTokenizer.from_pretrained(path)


def fresh_cache():
    """generate() makes a cache for num_layers layers, the encoder's: too few for a decoder that is deeper."""
    return EncoderDecoderCache(DynamicCache(), DynamicCache())


@torch.no_grad()
def reference_tokens(model, inputs, batch=1, **settings):
    """The ids that transformers generates for each input. Batches are padded on the right, which rounds differently:
    where a result matters it is that of batch=1."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
    outputs = [None] * len(inputs)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        longest = max(len(inputs[i]) for i in chosen)
        ids = torch.tensor([inputs[i] + [model.config.pad_token_id] * (longest - len(inputs[i])) for i in chosen])
        mask = torch.tensor([[1] * len(inputs[i]) + [0] * (longest - len(inputs[i])) for i in chosen])
        generated = model.generate(ids, attention_mask=mask, cache=fresh_cache(), **settings)
        for i, sequence in zip(chosen, generated[:, 1:].tolist()):
            end = next((n + 1 for n, token in enumerate(sequence) if token in ends), len(sequence))
            outputs[i] = sequence[:end]
    return outputs


def run_flame(flame, model, inputs, *arguments):
    """The objects that `flame generate --json` prints for lists of ids, in their order."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for ids in inputs:
            file.write(json.dumps({"tokens": ids}) + "\n")
        file.flush()
        command = [str(flame), "generate", str(model), "--input-ids", file.name, "--json", *map(str, arguments)]
        finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nfailed with {finished.returncode}: {finished.stderr.strip()}")
    # Lines come in the order in which prompts finish.
    return sorted((json.loads(line) for line in finished.stdout.splitlines()), key=lambda line: line["index"])
