"""Draws examples by the curriculum and cuts them into batches of like length."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from corpus_cache import TokenisedDocuments
from curriculum import Curriculum
from tasks import Example, TaskMaker

WINDOW = 1024  # examples drawn at once, sorted by length, cut into batches
PRETRAINING_STRETCH = 224  # tokens
TEXTS = ("dialogues", "prose")  # corpora without summaries
REPEATED_STRETCH = (6, 48)  # tokens, at least and below


class PairedDocuments:
    """Dialogues and summaries of equal index, drawn in a new order every epoch."""

    def __init__(self, folder: Path, name: str):
        self.dialogues = TokenisedDocuments.load(folder / f"{name}-dialogues.npz")
        self.summaries = TokenisedDocuments.load(folder / f"{name}-summaries.npz")

    def index(self, drawn: int, seed: int) -> int:
        """The document for the `drawn`-th draw: each epoch is one permutation."""
        epoch, place = divmod(drawn, len(self.dialogues))
        return int(self._order(seed, epoch)[place])

    @functools.lru_cache(maxsize=2)
    def _order(self, seed: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(len(self.dialogues))


def pad(sequences: list[np.ndarray], multiple: int) -> torch.Tensor:
    """Stacks sequences into an int64 matrix padded with zeros to a multiple of `multiple` columns."""
    length = -(-max(map(len, sequences)) // multiple) * multiple
    matrix = np.zeros((len(sequences), length), dtype=np.int64)
    for row, sequence in zip(matrix, sequences):
        row[:len(sequence)] = sequence
    return torch.from_numpy(matrix)


def cut(examples: list[Example], budget: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Sorts by source, then target length, and cuts into batches of at most `budget` padded source tokens."""
    examples = sorted(examples, key=lambda example: (-(-len(example.source) // 16), len(example.target)))
    batches: list[list[Example]] = [[]]
    for example in examples:
        if batches[-1] and (len(batches[-1]) + 1) * len(example.source) > budget:
            batches.append([])
        batches[-1].append(example)
    return [(pad([e.source for e in batch], 8), pad([e.target for e in batch], 8)) for batch in batches]


class BatchSource:
    """An endless, exactly repeatable row of windows of batches.

    A window depends only on the seed, its number, the step it starts at and how many examples of each paired corpus
    were drawn before; `drawn` is therefore all the state a checkpoint needs.
    """

    def __init__(self, folder: Path, maker: TaskMaker, curriculum: Curriculum, seed: int, budget: int):
        # Read when a task first draws from them: fine-tuning needs one corpus only.
        self.documents = functools.cache(lambda name: TokenisedDocuments.load(folder / f"{name}.npz"))
        self.pairs = functools.cache(lambda name: PairedDocuments(folder, name))
        self.maker, self.curriculum, self.seed, self.budget = maker, curriculum, seed, budget
        self.drawn: Counter[str] = Counter()

    def window(self, number: int, step: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of window `number`, which begins at optimizer step `step`, in random order."""
        rng = np.random.default_rng([self.seed, number])
        stage, progress = self.curriculum.stage_at(step)
        shares = stage.shares(progress)
        tasks = rng.choice(list(shares), WINDOW, p=list(shares.values()))
        batches = cut([self._make(rng, task, stage.names) for task in tasks], self.budget)
        rng.shuffle(batches)
        return batches

    def _make(self, rng: np.random.Generator, task: str, names: float) -> Example:
        verb, _, corpus = task.partition("-")
        if verb == "summarise":
            pairs = self.pairs(corpus)
            index = pairs.index(self.drawn[corpus], self.seed)
            self.drawn[corpus] += 1
            return self.maker.summarise(rng, pairs.dialogues.text(index), pairs.summaries.text(index), names)
        documents = self.documents(corpus) if corpus in TEXTS else self.pairs(corpus).dialogues
        if verb == "repeat":
            return self.maker.repeat(self.maker.stretch(rng, documents, int(rng.integers(*REPEATED_STRETCH))))
        lines = self.maker.stretch(rng, documents, PRETRAINING_STRETCH)
        return self.maker.corrupt(rng, lines) if verb == "corrupt" else self.maker.recite(rng, lines)
