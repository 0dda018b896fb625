#!/usr/bin/env python3
"""Checks a pruned checkpoint against the one it was made from, with NumPy and nothing of FLAME.

    python tools/check_pruned.py MODEL PRUNED --pattern 2:4 [--method magnitude] [--load]

  - every tensor that is not an expert's is the same, byte for byte; names, types and shapes are the same;
  - every expert matrix keeps at most N of each M consecutive weights of a row;
  - magnitude: what is kept has its old value, exactly N of each group are kept (fewer only where there were zeros), and
    nothing that was removed is larger than what was kept;
  - wanda: what is kept has its old value;
  - config, tokenizer and generation files are the same;
  - --load: transformers loads it (needs torch and transformers).

--pattern takes what `flame prune --pattern` takes. Needs numpy and safetensors' file format only, which is read here.
"""

import argparse
import json
import pathlib
import re
import sys

import numpy as np

TYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "F64": np.dtype("<f8"),
         "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "U8": np.dtype("u1"), "I8": np.dtype("i1"),
         "BOOL": np.dtype("?")}
EXPERT = re.compile(r"(encoder|decoder)\.block\.(\d+)\.layer\.\d\.mlp\.experts\.expert_(\d+)\.(wi|wi_0|wi_1|wo)\.weight")


def tensors_of(directory):
    """{name: (type, shape, raw bytes as an array)} over all safetensors files of a directory."""
    result = {}
    for path in sorted(directory.glob("*.safetensors")):
        raw = np.memmap(path, np.uint8, "r")
        length = int.from_bytes(raw[:8].tobytes(), "little")
        header = json.loads(raw[8:8 + length].tobytes())
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            assert name not in result, f"{name} is in two files"
            result[name] = entry["dtype"], entry["shape"], raw[begin:end]
    return result


def floats(kind, shape, raw):
    values = np.frombuffer(raw.tobytes(), TYPES[kind])
    if kind == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float32).reshape(shape)


def patterns_of(text):
    table = {}
    for entry in text.split(","):
        place, _, pattern = entry.rpartition("=")
        table[place] = (1, 1) if pattern == "dense" else tuple(map(int, pattern.split(":")))
    return table


def pattern_for(table, stack, layer):
    for key in (f"{stack}.{layer}", stack, ""):
        if key in table:
            return table[key]
    return None


def groups(matrix, m):
    padding = -matrix.shape[1] % m
    return np.pad(matrix, ((0, 0), (0, padding))).reshape(matrix.shape[0], -1, m)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("pruned", type=pathlib.Path)
    parser.add_argument("--pattern", required=True)
    parser.add_argument("--method", default="magnitude", choices=["magnitude", "wanda", "sparsegpt"])
    parser.add_argument("--load", action="store_true")
    options = parser.parse_args()

    before, after = tensors_of(options.model), tensors_of(options.pruned)
    if not before:
        sys.exit(f"{options.model}: no .safetensors file; this script reads no .bin")
    assert before.keys() == after.keys(), sorted(before.keys() ^ after.keys())
    table = patterns_of(options.pattern)
    blocks = {stack: sorted({int(match[2]) for match in map(EXPERT.fullmatch, before) if match and match[1] == stack})
              for stack in ("encoder", "decoder")}
    pruned, same, zeros, weights = 0, 0, 0, 0
    for name, (kind, shape, raw) in before.items():
        assert (kind, shape) == after[name][:2], f"{name}: {kind} {shape} became {after[name][:2]}"
        match = EXPERT.fullmatch(name)
        pattern = match and pattern_for(table, match[1], blocks[match[1]].index(int(match[2])))
        if not pattern or pattern[0] == pattern[1]:
            assert np.array_equal(raw, after[name][2]), f"{name}: changed"
            same += 1
            continue
        n, m = pattern
        old, new = groups(floats(kind, shape, raw), m), groups(floats(*after[name]), m)
        kept = new != 0
        assert kept.sum(-1).max() <= n, f"{name}: a group keeps more than {n} of {m}"
        if options.method != "sparsegpt":
            assert np.array_equal(new[kept], old[kept]), f"{name}: a kept weight changed"
        if options.method == "magnitude":
            wanted = np.minimum(n, (old != 0).sum(-1))
            assert np.array_equal(kept.sum(-1), wanted), f"{name}: a group keeps fewer than it could"
            smallest = np.where(kept, np.abs(old), np.inf).min(-1)
            largest = np.where(kept, 0, np.abs(old)).max(-1)
            assert (largest <= smallest).all(), f"{name}: something removed is larger than something kept"
            tied = (np.abs(old) == smallest[..., None]) & (smallest[..., None] > 0)  # the lower index stays
            first_removed = np.where(tied & ~kept, np.arange(m), m).min(-1)
            last_kept = np.where(tied & kept, np.arange(m), -1).max(-1)
            assert (first_removed > last_kept).all(), f"{name}: a tie was not decided for the lower index"
        pruned += 1
        zeros += int((floats(*after[name]) == 0).sum())
        weights += int(np.prod(shape))

    files = 0
    for path in sorted(options.model.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".h5", ".msgpack") or path.is_dir():
            continue
        if path.name == "flame_pruning.json" or path.name == "pytorch_model.bin.index.json":
            continue
        assert path.read_bytes() == (options.pruned / path.name).read_bytes(), f"{path.name}: changed"
        files += 1
    if pruned == 0:
        sys.exit(f"{options.pattern} names no expert of {options.model}: nothing was checked")
    print(f"{pruned} expert matrices are {options.pattern} by {options.method} ({zeros / max(weights, 1):.2%} zeros), "
          f"{same} tensors and {files} files are byte for byte as they were")

    if options.load:
        from transformers import SwitchTransformersForConditionalGeneration
        _, info = SwitchTransformersForConditionalGeneration.from_pretrained(options.pruned, output_loading_info=True)
        missing = [name for name in info["missing_keys"] if "embed_tokens" not in name and name != "lm_head.weight"]
        assert not missing and not info["mismatched_keys"], (missing, info["mismatched_keys"])
        print("transformers loads it")


if __name__ == "__main__":
    sys.exit(main())
