"""Readers of the raw training text: pre-training documents, dialogue-summary pairs, DialogSum.

Everything is read from the data directory described in tools/train/README.md; nothing is downloaded.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

# The pre-training sources, in order of how close they are to everyday dialogue.
DIALOGUE_SOURCES = ("schema-guided-dialogue", "topical-chat", "synthetic-persona-chat", "multiwoz-2.1-val-test",
                    "mts-dialog", "aci-bench", "crd3", "qmsum")
PROSE_SOURCES = ("tweetsumm-summaries", "standard-ebooks")


def read_json_lines(path: Path) -> Iterator[dict]:
    """Yields the objects of a JSON lines file, gzipped or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def read_documents(data: Path, source: str) -> Iterator[list[str]]:
    """Yields each document of one pre-training source as its list of lines (turns or paragraphs).

    Blank lines separate documents; the parts `-00`, `-01`, ... of a source follow each other.
    """
    lines: list[str] = []
    for part in sorted((data / "pretrain").glob(f"{source}*.txt.gz")):
        with gzip.open(part, "rt", encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    lines.append(line.rstrip("\n"))
                elif lines:
                    yield lines
                    lines = []
    if lines:
        yield lines


def read_pairs(data: Path) -> Iterator[dict]:
    """Yields the dialogue-summary pairs of the middle stage (fields dialogue and summary)."""
    for path in sorted((data / "pretrain" / "pairs").glob("*.jsonl.gz")):
        yield from read_json_lines(path)


def normalised(text: str) -> str:
    """Lower-cased text with single spaces: two dialogues equal in this form count as the same."""
    return re.sub(r"\s+", " ", text.lower()).strip()


def read_dialogsum(data: Path, split: str) -> list[dict]:
    """Returns DialogSum's `train`, `dev` or `test` split.

    Training dialogues that also occur in dev or test are left out.
    """
    folder = data / "dialogsum"
    examples = list(read_json_lines(folder / f"{split}.jsonl"))
    if split != "train":
        return examples
    held_out = {normalised(example["dialogue"]) for other in ("dev", "test")
                for example in read_json_lines(folder / f"{other}.jsonl")}
    return [example for example in examples if normalised(example["dialogue"]) not in held_out]
