#!/usr/bin/env python3
"""transformers' own published test of switch_base_8, run by the flame program. For those who have the weights.

    python tools/parity/check_published.py DIR-OF-google/switch-base-8

transformers tests (bf16, 5.24: SwitchTransformerModelIntegrationTests.test_small_generate) that greedy decoding of
    A <extra_id_0> walks into a bar a orders a <extra_id_1> with <extra_id_2> pinch of <extra_id_3>.
gives
    <extra_id_0> man<extra_id_1> beer<extra_id_2> a<extra_id_3> salt<extra_id_4>.
Then both programs generate for a few prompts in fp32 and are compared token by token (compare_model.py).
"""

import argparse
import pathlib
import sys

from reference import DEFAULT_FLAME, check_version, load_model, load_tokenizer, reference_tokens, run_flame

PROMPT = "A <extra_id_0> walks into a bar a orders a <extra_id_1> with <extra_id_2> pinch of <extra_id_3>."
PUBLISHED = "<pad><extra_id_0> man<extra_id_1> beer<extra_id_2> a<extra_id_3> salt<extra_id_4>.</s>"
MORE = [
    "The capital of France is <extra_id_0>.",
    "<extra_id_0> said that the meeting <extra_id_1> until Friday because <extra_id_2>.",
    "summarize: Ann asked Bob whether he was coming. Bob said that he would be there at six.",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, help="google/switch-base-8 as downloaded")
    parser.add_argument("--flame", type=pathlib.Path, default=DEFAULT_FLAME)
    arguments = parser.parse_args()
    check_version()
    tokenizer = load_tokenizer(arguments.model)
    prompts = [tokenizer(text).input_ids for text in [PROMPT, *MORE]]

    failed = False
    for dtype in ("bf16", "f32"):
        flags = ["--dtype", dtype, "--beams", 1, "--max-new-tokens", 20]
        line = run_flame(arguments.flame, arguments.model, prompts[:1], *flags)[0]
        text = "<pad>" + tokenizer.decode(line["tokens"], skip_special_tokens=False)
        same = text.replace(" ", "") == PUBLISHED.replace(" ", "")
        failed |= not same
        print(f"published output, {dtype}: {'the same' if same else 'DIFFERENT: ' + text}")

    model = load_model(arguments.model)
    for beams in (1, 4):
        wanted = reference_tokens(model, prompts, num_beams=beams, max_new_tokens=20)
        lines = run_flame(arguments.flame, arguments.model, prompts, "--dtype", "f32", "--beams", beams,
                          "--max-new-tokens", 20)  # fmt: skip
        different = sum(a != line["tokens"] for a, line in zip(wanted, lines))
        failed |= different > 0
        print(f"{len(prompts)} prompts, {beams} beams, fp32: {different} outputs differ from transformers'")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
