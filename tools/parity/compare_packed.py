#!/usr/bin/env python3
"""Runs a pruned checkpoint, packed, through the flame program, and its weights through transformers, in fp32.

    flame prune models/switch-dialogsum-8 -o pruned --pattern 2:4
    python tools/parity/compare_packed.py pruned --pattern 2:4 --input dialogsum/test.jsonl --prefix "summarize: " --limit 50

For every type that `flame pack` has, the checkpoint is packed with it and decoded greedily. transformers runs what that
type stands for: f32 and bf16 the pruned weights themselves, int8 and int4 the weights rounded and widened again as
docs/kernels.md says, computed here with NumPy. f32 and bf16 must give the same tokens. int8 and int4 also round what goes
into an expert, so their texts may part: there the reference's logits of the two tokens may differ by --tolerance at most.
Exit status 1 when anything is further apart.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
from compare_model import first_difference
from reference import DEFAULT_FLAME, check_version, load_model, load_tokenizer, reference_tokens, run_flame

EXPERT = re.compile(r"\.mlp\.experts\.expert_\d+\.(wi|wi_0|wi_1|wo)\.weight$")


def rounded_int8(weights):
    """Symmetric per row: codes of -127 to 127, rounded half to even."""
    largest = np.abs(weights).max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.rint(weights * (np.float32(127) / largest))
    return np.where(largest > 0, codes * (largest / np.float32(127)), 0).astype(np.float32)


def rounded_int4(weights, group):
    """Codes of -7 to 7 and an fp16 scale for every `group` inputs of a row."""
    rows, columns = weights.shape
    padded = np.pad(weights, ((0, 0), (0, -columns % group))).reshape(rows, -1, group)
    scales = (np.abs(padded).max(axis=2, keepdims=True) / np.float32(7)).astype(np.float16).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.clip(np.rint(padded / scales), -7, 7)
    return np.where(scales > 0, codes * scales, 0).reshape(rows, -1)[:, :columns].astype(np.float32)


def model_of(path, dtype, group):
    """transformers' model of the weights that a bundle of this type stands for."""
    model = load_model(path)
    if dtype in ("f32", "bf16"):
        return model
    found = 0
    for name, weight in model.named_parameters():
        if not EXPERT.search(name):
            continue
        values = weight.detach().numpy()
        values[...] = rounded_int8(values) if dtype == "int8" else rounded_int4(values, group)
        found += 1
    if not found:
        raise SystemExit(f"{path}: no expert's weight has a name that this script knows")
    return model


def compare(arguments, dtype, prompts):
    with tempfile.TemporaryDirectory() as directory:
        bundle = pathlib.Path(directory) / "bundle"
        pack = [arguments.flame, "pack", arguments.model, "-o", bundle, "--pattern", arguments.pattern, "--dtype", dtype]
        if dtype == "int4":
            pack += ["--int4-group", arguments.int4_group]
        subprocess.run([str(word) for word in pack], check=True, stdout=subprocess.DEVNULL)
        flags = ["--beams", 1] + (["--threads", arguments.threads] if arguments.threads else [])
        found = [line["tokens"] for line in run_flame(arguments.flame, bundle, prompts, *flags)]
    model = model_of(arguments.model, dtype, arguments.int4_group)
    wanted = reference_tokens(model, prompts, num_beams=1)
    different = [i for i in range(len(prompts)) if wanted[i] != found[i]]
    gaps = []
    for i in different:
        parting = first_difference(model, prompts[i], wanted[i], found[i])
        if "flame" not in parting:
            raise SystemExit(f"{dtype}, prompt {i}: one output ends where the other goes on: {parting}")
        gaps.append(abs(parting["transformers"][1] - parting["flame"][1]))
    largest = max(gaps, default=0.0)
    tolerance = arguments.tolerance if dtype in ("int8", "int4") else 0.0
    print(f"{dtype}: {len(prompts)} prompts, {sum(map(len, wanted))} tokens, {len(different)} outputs differ"
          + (f"; where they part, the two tokens' logits differ by at most {largest:.3f}" if different else ""), flush=True)  # fmt: skip
    return not different or (tolerance > 0.0 and largest <= tolerance)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, help="a checkpoint that flame prune wrote")
    parser.add_argument("--pattern", required=True)
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16", "int8", "int4"])
    parser.add_argument("--int4-group", type=int, default=64, choices=[32, 64])
    parser.add_argument("--input", type=pathlib.Path, required=True, help="JSON lines with prompts")
    parser.add_argument("--field", default="dialogue")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--tolerance", type=float, default=0.1, help="of the logits of int8 and int4 where texts part")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--flame", type=pathlib.Path, default=DEFAULT_FLAME)
    arguments = parser.parse_args()
    check_version()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tokenizer = load_tokenizer(arguments.model)
    lines = arguments.input.read_text().splitlines()[: arguments.limit]
    prompts = [tokenizer(arguments.prefix + json.loads(line)[arguments.field]).input_ids for line in lines]
    if not all([compare(arguments, dtype, prompts) for dtype in arguments.dtypes]):
        sys.exit(1)


if __name__ == "__main__":
    main()
