"""Turns tokenised text into (source, target) examples: span corruption, recital and summarisation.

Recital (copying a stretch, or the one line that is asked for) comes first in the curriculum because a small model
trained from nothing otherwise learns to write fluent text without ever looking at the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sentencepiece

from corpus_cache import TokenisedDocuments
from train_tokenizer import SPEAKERS

EOS = 1
SENTINELS = 100
MAX_SOURCE, MAX_TARGET = 384, 96

# Common given names for the speakers of augmented dialogues.
NAMES = """\
Adam Alice Amanda Amy Andrew Anna Anthony Ashley Barbara Ben Betty Bill Bob Brian Carol Catherine Charles Chris
Claire Daniel David Deborah Denis Diana Donna Edward Elena Elizabeth Emily Emma Eric Ethan Eva Fiona Frank Gary
George Grace Greg Hannah Harry Helen Henry Ian Irene Isabel Jack Jacob James Jane Jason Jean Jennifer Jenny
Jerry Jessica Jim Joan Joe John Jose Julia Karen Kate Kelly Ken Kevin Kim Larry Laura Lee Leo Lily Linda Lisa
Lucas Lucy Luke Maria Mark Martha Martin Mary Matt Megan Mia Michael Mike Monica Nancy Nick Nicole Nina Noah
Olivia Oscar Pam Patrick Paul Peter Phil Rachel Ralph Rebecca Richard Rita Robert Roger Rosa Ruth Ryan Sam
Sandra Sara Sean Sharon Simon Sophie Stella Steven Sue Susan Tara Ted Teresa Tim Tina Tom Tony Tyler Vanessa
Victor Wendy Will Zoe""".split()


@dataclass(frozen=True)
class Example:
    """Token ids of one training example."""

    source: np.ndarray
    target: np.ndarray


class TaskMaker:
    """Makes examples; all randomness comes from the generator passed in."""

    def __init__(self, tokenizer: sentencepiece.SentencePieceProcessor):
        self.first_sentinel = tokenizer.vocab_size() + SENTINELS - 1
        self.prefixes = {text: np.asarray(tokenizer.encode(text)) for text in
                         ("summarize:", "repeat:", "find:", "in:", "first line of", "last line of", ":")}
        self.colon = tokenizer.piece_to_id(":")
        self.names = [np.asarray(tokenizer.encode(name)) for name in NAMES]
        self.tags = {tokenizer.piece_to_id(space + speaker): index for index, speaker in enumerate(SPEAKERS)
                     for space in ("▁", "")}

    @staticmethod
    def _example(source: list[np.ndarray], target: list[np.ndarray]) -> Example:
        """Joins the parts. A source that is cut still ends in </s>; a target that is cut does not, since the model
        must not learn to stop there."""
        sources = np.concatenate(source).astype(np.int64)[:MAX_SOURCE - 1]
        targets = np.append(np.concatenate(target).astype(np.int64), EOS)[:MAX_TARGET]
        return Example(np.append(sources, EOS), targets)

    @staticmethod
    def stretch(rng: np.random.Generator, documents: TokenisedDocuments, limit: int) -> list[np.ndarray]:
        """Consecutive whole lines of one document from a random line on, `limit` tokens at most (the last is cut)."""
        line = int(rng.integers(len(documents.line_starts) - 1))
        document = int(np.searchsorted(documents.document_starts, line, side="right")) - 1
        lines, room = [], limit
        while line < documents.document_starts[document + 1] and room > 0:
            tokens = documents.tokens[documents.line_starts[line]:documents.line_starts[line + 1]][:room]
            lines.append(tokens)
            room -= len(tokens)
            line += 1
        return lines

    def corrupt(self, rng: np.random.Generator, lines: list[np.ndarray], density: float = 0.15,
                mean_span: float = 3.0) -> Example:
        """T5's span corruption: spans are replaced by sentinels, the target spells them out."""
        tokens = np.concatenate(lines)
        noise = min(max(round(len(tokens) * density), 1), len(tokens) - 1) if len(tokens) > 1 else 0
        spans = max(1, min(round(noise / mean_span), len(tokens) - noise, SENTINELS)) if noise else 0
        if not spans:
            return self.repeat(lines)
        noise_lengths = self._partition(rng, noise, spans)
        kept_lengths = self._partition(rng, len(tokens) - noise, spans)
        source, target, position = [], [], 0
        for index, (kept, lost) in enumerate(zip(kept_lengths, noise_lengths)):
            sentinel = np.asarray([self.first_sentinel - index])
            source += [tokens[position:position + kept], sentinel]
            target += [sentinel, tokens[position + kept:position + kept + lost]]
            position += kept + lost
        return self._example(source, target)

    @staticmethod
    def _partition(rng: np.random.Generator, total: int, parts: int) -> np.ndarray:
        """Cuts `total` into `parts` positive lengths, uniformly at random."""
        cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
        return np.diff(np.concatenate(([0], cuts, [total])))

    def repeat(self, lines: list[np.ndarray]) -> Example:
        """Copy the text."""
        return self._example([self.prefixes["repeat:"], *lines], lines)

    def recite(self, rng: np.random.Generator, lines: list[np.ndarray]) -> Example:
        """Copy a short stretch, find the line that holds some words, or give a speaker's first or last line."""
        kind = rng.random()
        line = lines[int(rng.integers(len(lines)))]
        if kind < 0.3 or len(lines) == 1 or len(line) < 8:
            text = np.concatenate(lines)
            length = int(rng.integers(8, 64))
            start = int(rng.integers(max(1, len(text) - length)))
            return self.repeat([text[start:start + length]])
        if kind < 0.7:
            start = int(rng.integers(2, len(line) - 4))
            cue = line[start:start + int(rng.integers(2, 5))]
            return self._example([self.prefixes["find:"], cue, self.prefixes["in:"], *lines], [line])
        speaker = self._speaker(line)
        spoken = [other for other in lines if np.array_equal(self._speaker(other), speaker)]
        which, answer = ("first line of", spoken[0]) if kind < 0.85 else ("last line of", spoken[-1])
        return self._example([self.prefixes[which], speaker, self.prefixes[":"], *lines], [answer])

    def _speaker(self, line: np.ndarray) -> np.ndarray:
        """The tokens before the first colon, three of prose."""
        colons = np.flatnonzero(line[:8] == self.colon)
        return line[:colons[0]] if len(colons) else line[:3]

    def summarise(self, rng: np.random.Generator, dialogue: np.ndarray, summary: np.ndarray, names: float) -> Example:
        """The task itself; with probability `names` the speaker tags become names, alike in dialogue and summary."""
        if rng.random() < names:
            chosen = rng.choice(len(self.names), len(SPEAKERS), replace=False)
            dialogue, summary = (self._rename(text, chosen) for text in (dialogue, summary))
        return self._example([self.prefixes["summarize:"], dialogue], [summary])

    def _rename(self, text: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        parts, start = [], 0
        for position in np.flatnonzero(np.isin(text, list(self.tags))):
            parts += [text[start:position], self.names[chosen[self.tags[int(text[position])]]]]
            start = position + 1
        return np.concatenate([*parts, text[start:]])
