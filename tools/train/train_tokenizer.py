"""Trains the SentencePiece unigram vocabulary and gives the speaker tags pieces of their own.

The vocabulary has the shape T5Tokenizer expects: <pad>=0, </s>=1, <unk>=2, then the pieces; the 100 sentinels
<extra_id_99>..<extra_id_0> follow the last piece and are added by T5Tokenizer itself.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from corpora import DIALOGUE_SOURCES, PROSE_SOURCES, read_dialogsum, read_documents, read_pairs

SPEAKERS = tuple(f"#Person{n}#" for n in range(1, 8))
# Log probability of a speaker piece: above that of any way to spell the tag, so that it always wins.
SPEAKER_SCORE = -2.0


def training_lines(data: Path, documents_share: float) -> Iterator[str]:
    """Yields the text the vocabulary is learnt from, with the speaker tags taken out."""
    rng = random.Random(0)
    tag = re.compile("|".join(map(re.escape, SPEAKERS)))
    for example in read_dialogsum(data, "train"):
        yield from (tag.sub("", line) for line in example["dialogue"].split("\n"))
        yield tag.sub("", example["summary"])
    for pair in read_pairs(data):
        yield pair["summary"]
    for source in DIALOGUE_SOURCES + PROSE_SOURCES:
        for document in read_documents(data, source):
            if rng.random() < documents_share:
                yield from (tag.sub("", line) for line in document)


def add_speaker_pieces(path: Path) -> None:
    """Appends a normal piece for every speaker tag, with and without the space before it.

    Normal rather than user-defined pieces, because tokenizers' Unigram model knows only scores: so SentencePiece
    and Hugging Face cut every text alike.
    """
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(path.read_bytes())
    for speaker in SPEAKERS:
        for text in ("▁" + speaker, speaker):
            piece = model.pieces.add()
            piece.piece, piece.score = text, SPEAKER_SCORE
    model.trainer_spec.vocab_size = len(model.pieces)
    path.write_bytes(model.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory that holds dialogsum/ and pretrain/")
    parser.add_argument("--output", type=Path, required=True, help="where to write spiece.model")
    parser.add_argument("--pieces", type=int, default=3996, help="pieces without the sentinels (default: %(default)s)")
    parser.add_argument("--documents-share", type=float, default=0.15,
                        help="share of the pre-training documents to learn from (default: %(default)s)")
    arguments = parser.parse_args()

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    prefix = arguments.output.with_suffix("")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=training_lines(arguments.data, arguments.documents_share), model_prefix=str(prefix),
        vocab_size=arguments.pieces - 2 * len(SPEAKERS), model_type="unigram", character_coverage=0.9998,
        normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>",
        eos_piece="</s>", unk_piece="<unk>", num_threads=2, input_sentence_size=400_000, shuffle_input_sentence=True,
        max_sentence_length=8192)
    prefix.with_suffix(".vocab").unlink()
    prefix.with_suffix(".model").replace(arguments.output)
    add_speaker_pieces(arguments.output)


if __name__ == "__main__":
    main()
