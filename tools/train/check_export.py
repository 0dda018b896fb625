"""Checks an exported model: logits as the training code's, token ids as SentencePiece's, no token over capacity.

Exits with an error message when something differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sentencepiece
import torch
from transformers import AutoTokenizer, SwitchTransformersForConditionalGeneration

from batches import pad
from corpora import read_json_lines
from huggingface import from_hugging_face
from model import EOS

TOLERANCE = 1e-3


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="Hugging Face directory")
    parser.add_argument("--input", type=Path, required=True, help="JSON lines with a dialogue field")
    parser.add_argument("--examples", type=int, default=8, help="examples to compare (default: %(default)s)")
    arguments = parser.parse_args()

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(arguments.model / "spiece.model"))
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    theirs = SwitchTransformersForConditionalGeneration.from_pretrained(arguments.model, dtype=torch.float32).eval()
    ours = from_hugging_face(arguments.model)

    worst = 0.0
    examples = list(read_json_lines(arguments.input))[:arguments.examples]
    for example in examples:
        ids = pieces.encode("summarize: " + example["dialogue"]) + [EOS]
        if tokenizer("summarize: " + example["dialogue"]).input_ids != ids:
            sys.exit(f"example {example['id']}: the tokenizers disagree")
        source, target = pad([ids], 1), pad([ids[:24]], 1)
        reference = theirs(input_ids=source, labels=target).logits
        worst = max(worst, (ours.logits(source, target) - reference).abs().max().item())
    print(f"{len(examples)} examples: token ids equal, logits differ by at most {worst:.2e}")
    if not worst < TOLERANCE:
        sys.exit(f"expected a difference below {TOLERANCE}")


if __name__ == "__main__":
    main()
