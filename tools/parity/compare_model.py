#!/usr/bin/env python3
"""Runs a model through transformers and through the flame program, and tells where their outputs differ.

    python tools/parity/compare_model.py MODEL --input dialogsum/test.jsonl --field dialogue --prefix "summarize: "
    python tools/parity/compare_model.py MODEL --random 20        # random ids, for a model without a tokenizer

Both compute in fp32 from the stored weights. Prompts are tokenised by transformers; where FLAME is given text itself,
tests/text compares the tokenizers. For greedy outputs that differ, the two logits at the first differing token are shown.
Exit status 1 when any output differs.
"""

import argparse
import json
import pathlib
import random
import sys
import time

import torch
from reference import DEFAULT_FLAME, check_version, fresh_cache, load_model, load_tokenizer, reference_tokens, run_flame


def read_prompts(arguments, model):
    if arguments.random:
        generator = random.Random(1)
        lengths = [generator.randint(1, 200) for _ in range(arguments.random)]
        return [[generator.randrange(3, model.config.vocab_size) for _ in range(n)] + [1] for n in lengths]
    tokenizer = load_tokenizer(arguments.model)
    lines = arguments.input.read_text().splitlines()[: arguments.limit]
    return [tokenizer(arguments.prefix + json.loads(line)[arguments.field]).input_ids for line in lines]


@torch.no_grad()
def first_difference(model, ids, wanted, found):
    """Where two outputs part, and the reference's logits of both tokens there."""
    at = next((i for i, (a, b) in enumerate(zip(wanted, found)) if a != b), min(len(wanted), len(found)))
    if at >= min(len(wanted), len(found)):
        return {"position": at}
    start = model.generation_config.decoder_start_token_id
    logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[start] + wanted[:at]]),
                   cache=fresh_cache()).logits[0, -1]  # fmt: skip
    return {"position": at, "transformers": [wanted[at], logits[wanted[at]].item()],
            "flame": [found[at], logits[found[at]].item()]}  # fmt: skip


def compare(arguments, model, prompts, beams):
    settings = {"num_beams": beams}
    flags = ["--dtype", "f32", "--beams", beams, "--batch", arguments.batch]
    if arguments.max_new_tokens:
        settings["max_new_tokens"] = arguments.max_new_tokens
        flags += ["--max-new-tokens", arguments.max_new_tokens]
    begun = time.time()
    found = [line["tokens"] for line in run_flame(arguments.flame, arguments.model, prompts, *flags)]
    flame_seconds = time.time() - begun
    begun = time.time()
    wanted = reference_tokens(model, prompts, arguments.reference_batch, **settings)
    reference_seconds = time.time() - begun
    different = [i for i in range(len(prompts)) if wanted[i] != found[i]]
    if arguments.reference_batch > 1 and different:
        print(f"  {len(different)} differ from padded batches of {arguments.reference_batch}; running these alone")
        for i, tokens in zip(different, reference_tokens(model, [prompts[i] for i in different], **settings)):
            wanted[i] = tokens
        different = [i for i in different if wanted[i] != found[i]]
    name = "greedy" if beams == 1 else f"{beams} beams"
    print(f"{name}: {len(prompts)} prompts, {sum(map(len, wanted))} tokens, {len(different)} outputs differ "
          f"(flame {flame_seconds:.0f} s, transformers {reference_seconds:.0f} s)", flush=True)  # fmt: skip
    for i in different[: arguments.show]:
        print("  prompt", i, json.dumps(first_difference(model, prompts[i], wanted[i], found[i])))
    return len(different)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--input", type=pathlib.Path, help="JSON lines with prompts")
    parser.add_argument("--field", default="dialogue")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--random", type=int, help="this many prompts of random ids instead of --input")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--max-new-tokens", type=int)
    parser.add_argument("--batch", type=int, default=1, help="prompts that FLAME decodes together")
    parser.add_argument("--reference-batch", type=int, default=1,
                        help="prompts that transformers pads and decodes together; what differs is run again alone")
    parser.add_argument("--show", type=int, default=5, help="differing outputs to look into")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--flame", type=pathlib.Path, default=DEFAULT_FLAME)
    arguments = parser.parse_args()
    if not arguments.input and not arguments.random:
        parser.error("--input or --random is needed")
    check_version()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model)
    prompts = read_prompts(arguments, model)
    sys.exit(1 if sum(compare(arguments, model, prompts, beams) for beams in arguments.beams) else 0)


if __name__ == "__main__":
    main()
