#!/usr/bin/env python3
"""Compares FLAME's ids and decoded texts with transformers' T5Tokenizer.

    cmake --build --preset release --target flame_tokenize
    python tools/check_tokenizer.py MODEL [--input FILE.jsonl ...] [--random N] [--code-points]

MODEL is a directory with spiece.model or tokenizer.json. Every string in every field of the input files is a text of its
own. --random draws N texts of letters, accents, white space, emoji and special tokens; --code-points takes every
Unicode character. Needs transformers (5.24.0 is what the fixtures were made with). Exits with 1 when anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from transformers import T5Tokenizer

REPOSITORY = Path(__file__).parents[1]
BATCH = 4096


def texts_of_files(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            for value in json.loads(line).values():
                yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))


def random_texts(count: int, seed: int) -> Iterator[str]:
    generator = random.Random(seed)
    pool = ([chr(c) for c in range(0x20, 0x250)] + [chr(c) for c in range(0x300, 0x370)] * 2 + [" "] * 200
            + list("abcdefghijklmnopqrstuvwxyz") * 20 + [f"<extra_id_{i}>" for i in range(20)] * 2
            + ["</s>", "<pad>", "<unk>", "\n", "\t", "\r\n", "\u3000", "\u200d", "\ufe0f", "😀", "👨\u200d👩\u200d👧", "ﬁ",
               "①", "가", "ㄱ", "ᄀ", "ᅡ", "ᆨ", "▁", "½", "Å", "\u2028", "\u00ad", "ＡＢ", "\u0e33", "\u0903", "ก",
               "\u1100\u1161", "\x00", "\x01", "\x0b", "\x1c", "\x85", "İ", "ſ"] * 3)
    for _ in range(count):
        yield "".join(generator.choice(pool) for _ in range(generator.randint(0, 30)))


def code_point_texts() -> Iterator[str]:
    for code_point in range(1, 0x110000):
        if not 0xD800 <= code_point < 0xE000:
            yield f"a{chr(code_point)}b {chr(code_point)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--input", type=Path, nargs="*", default=[])
    parser.add_argument("--random", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--code-points", action="store_true")
    parser.add_argument("--program", type=Path, default=REPOSITORY / "build/release/tests/flame_tokenize")
    arguments = parser.parse_args()

    texts = list(texts_of_files(arguments.input)) + list(random_texts(arguments.random, arguments.seed))
    if arguments.code_points:
        texts += code_point_texts()
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    output = subprocess.run([arguments.program, arguments.model], input=lines.encode(), stdout=subprocess.PIPE,
                            check=True).stdout
    ours = [json.loads(line) for line in output.splitlines()]
    assert len(ours) == len(texts), f"{len(texts)} texts in, {len(ours)} results out"

    tokenizer = T5Tokenizer.from_pretrained(arguments.model)
    differing = tokens = 0
    for start in range(0, len(texts), BATCH):
        batch = texts[start:start + BATCH]
        ids = tokenizer(batch).input_ids
        tokens += sum(map(len, ids))
        theirs = zip(ids, tokenizer.batch_decode(ids), tokenizer.batch_decode(ids, skip_special_tokens=True))
        for text, mine, (id_list, decoded, without_special) in zip(batch, ours[start:start + BATCH], theirs):
            expected = {"ids": id_list, "decoded": decoded, "without_special": without_special}
            if mine != expected:
                differing += 1
                if differing <= 10:
                    print(f"{text!r}\n  ours         {mine}\n  transformers {expected}")
    print(f"{len(texts)} texts, {tokens} tokens, {differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
