#!/usr/bin/env python3
"""transformers' own published outputs of switch_base_8, run by the flame program. For those who have the weights.

    python tools/parity/check_published.py DIR-OF-google/switch-base-8

The prompts and outputs are those of transformers' integration tests of google/switch-base-8 (test_small_generate and
test_small_batch_generate, greedy, in bf16 arithmetic). Then both programs generate for these and a few more prompts in fp32 and
are compared token by token, with one beam and with four.
"""

import argparse
import pathlib
import sys

NEEDED = """needed: a directory with the files of https://huggingface.co/google/switch-base-8 as they are there:
config.json, spiece.model (or tokenizer.json), and the weights (pytorch_model.bin, or model.safetensors, or shards with their
index), 2.5 GB in all. Without them `flame synth switch-base-8 -o DIR --tokenizer spiece.model` makes a checkpoint of the same
size with random weights: the comparison with transformers then runs, only the published texts cannot come out."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")

PUBLISHED = {
    "A <extra_id_0> walks into a bar a orders a <extra_id_1> with <extra_id_2> pinch of <extra_id_3>.":
        "<extra_id_0> man<extra_id_1> beer<extra_id_2> a<extra_id_3> salt<extra_id_4>.</s>",
    "A <extra_id_0> walks into a bar and orders a <extra_id_1> with <extra_id_2> pinch of <extra_id_3>.":
        "<extra_id_0> man<extra_id_1> beer<extra_id_2> a<extra_id_3> whiskey<extra_id_4>.</s>",
    "The human walks into a bar and orders a <extra_id_0>": "<extra_id_0> drink.</s>",
}  # fmt: skip
MORE = [
    "The capital of France is <extra_id_0>.",
    "<extra_id_0> said that the meeting <extra_id_1> until Friday because <extra_id_2>.",
    "summarize: Ann asked Bob whether he was coming. Bob said that he would be there at six.",
]


def what_is_missing(model: pathlib.Path) -> str | None:
    """In words, or None when all is there."""
    if not model.is_dir():
        return f"{model}: there is no such directory"
    for what, names in (("config", ("config.json",)), ("tokenizer", ("spiece.model", "tokenizer.json")), ("weights", WEIGHTS)):
        if not any((model / name).is_file() for name in names):
            return f"{model}: no {what}; looked for {', '.join(names)}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, help="google/switch-base-8 as downloaded")
    parser.add_argument("--flame", type=pathlib.Path, help="the program (default: build/release/bin/flame)")
    arguments = parser.parse_args()
    if missing := what_is_missing(arguments.model):
        sys.exit(f"{missing}\n{NEEDED}")
    try:
        from reference import DEFAULT_FLAME, check_version, load_model, load_tokenizer, reference_tokens, run_flame
    except ModuleNotFoundError as absent:
        sys.exit(f"needed: the Python package {absent.name}; pip install -r tools/parity/requirements.txt")
    flame = arguments.flame or DEFAULT_FLAME
    if not flame.is_file():
        sys.exit(f"{flame}: there is no such program; build it with `cmake --build --preset release`, or give --flame")
    check_version()
    tokenizer = load_tokenizer(arguments.model)
    prompts = [tokenizer(text).input_ids for text in [*PUBLISHED, *MORE]]

    failed = False
    for dtype in ("bf16", "f32"):
        lines = run_flame(flame, arguments.model, prompts[: len(PUBLISHED)], "--dtype", dtype, "--beams", 1,
                          "--max-new-tokens", 20)  # fmt: skip
        for line, (prompt, wanted) in zip(lines, PUBLISHED.items()):
            text = tokenizer.decode(line["tokens"], skip_special_tokens=False)
            # Versions of the tokenizer differ in the spaces around extra ids; the last output is published without them.
            same = text.replace(" ", "").removeprefix("<extra_id_0>") == wanted.replace(" ", "").removeprefix("<extra_id_0>")
            failed |= not same
            print(f"{dtype}: {prompt}\n  {'as published' if same else 'DIFFERENT, published ' + wanted}: {text}")

    model = load_model(arguments.model)
    for beams in (1, 4):
        wanted = reference_tokens(model, prompts, num_beams=beams, max_new_tokens=20)
        lines = run_flame(flame, arguments.model, prompts, "--dtype", "f32", "--beams", beams,
                          "--max-new-tokens", 20)  # fmt: skip
        different = sum(a != line["tokens"] for a, line in zip(wanted, lines))
        failed |= different > 0
        print(f"{len(prompts)} prompts, {beams} beams, fp32: {different} outputs differ from transformers'")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
