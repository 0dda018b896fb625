"""Tokenises all training text once, so that training only reads arrays.

Writes to the output directory: dialogues.npz and prose.npz (pre-training documents), and for the pairs, and for each
split of DialogSum, NAME-dialogues.npz and NAME-summaries.npz whose n-th documents belong together. With
--dialogsum-only DialogSum alone.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece

from corpora import DIALOGUE_SOURCES, PROSE_SOURCES, read_dialogsum, read_documents, read_pairs
from corpus_cache import TokenisedDocuments


@functools.cache
def tokenizer(path: str) -> sentencepiece.SentencePieceProcessor:
    """The tokenizer, loaded once in each worker."""
    return sentencepiece.SentencePieceProcessor(model_file=path)


def encode_document(path: str, lines: list[str]) -> list[list[int]]:
    """The token ids of each line of a document."""
    return tokenizer(path).encode(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory that holds dialogsum/ and pretrain/")
    parser.add_argument("--tokenizer", type=Path, required=True, help="spiece.model")
    parser.add_argument("--output", type=Path, required=True, help="directory of the tokenised text")
    parser.add_argument("--dialogsum-only", action="store_true",
                        help="leave pretrain/ out, which needs not be there: enough for recover.py")
    parser.add_argument("--processes", type=int, default=2, help="worker processes (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    with multiprocessing.Pool(arguments.processes) as pool:
        encode = functools.partial(encode_document, str(arguments.tokenizer))

        def write(name: str, documents: Iterable[list[str]]) -> None:
            tokenised = TokenisedDocuments.from_lists(pool.imap(encode, documents, chunksize=64))
            tokenised.save(arguments.output / f"{name}.npz")
            print(f"{name}: {len(tokenised):,} documents, {len(tokenised.tokens):,} tokens")

        def documents(sources: Iterable[str]) -> Iterator[list[str]]:
            for source in sources:
                yield from read_documents(arguments.data, source)

        paired = {split: read_dialogsum(arguments.data, split) for split in ("train", "dev")}
        if not arguments.dialogsum_only:
            paired["pairs"] = list(read_pairs(arguments.data))
        for name, examples in paired.items():
            write(f"{name}-dialogues", (example["dialogue"].split("\n") for example in examples))
            write(f"{name}-summaries", ([example["summary"]] for example in examples))
        if not arguments.dialogsum_only:
            write("dialogues", documents(DIALOGUE_SOURCES))
            write("prose", documents(PROSE_SOURCES))


if __name__ == "__main__":
    main()
