"""Tokenised documents on disk: one flat array of token ids with the places where lines and documents begin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class TokenisedDocuments:
    """Documents of lines of token ids (no end-of-sequence ids are stored).

    tokens: uint16 [total tokens]
    line_starts: int64 [lines + 1], offsets into tokens
    document_starts: int64 [documents + 1], offsets into line_starts
    """

    tokens: np.ndarray
    line_starts: np.ndarray
    document_starts: np.ndarray

    @staticmethod
    def from_lists(documents: Iterable[list[list[int]]]) -> TokenisedDocuments:
        """Builds the arrays from documents given as lists of lines of token ids."""
        tokens: list[np.ndarray] = []
        line_lengths: list[int] = []
        document_lengths: list[int] = []
        for lines in documents:
            document_lengths.append(len(lines))
            for line in lines:
                line_lengths.append(len(line))
                tokens.append(np.asarray(line, dtype=np.uint16))
        starts = (np.cumsum([0, *lengths]) for lengths in (line_lengths, document_lengths))
        return TokenisedDocuments(np.concatenate(tokens), *starts)

    @staticmethod
    def load(path: Path) -> TokenisedDocuments:
        """Reads what `save` wrote."""
        with np.load(path) as arrays:
            return TokenisedDocuments(arrays["tokens"], arrays["line_starts"], arrays["document_starts"])

    def save(self, path: Path) -> None:
        """Writes the three arrays to one .npz file."""
        np.savez(path, tokens=self.tokens, line_starts=self.line_starts, document_starts=self.document_starts)

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.document_starts) - 1

    def lines(self, document: int) -> list[np.ndarray]:
        """The lines of one document, as views of token ids."""
        first, last = self.document_starts[document], self.document_starts[document + 1]
        starts = self.line_starts[first:last + 1]
        return [self.tokens[starts[i]:starts[i + 1]] for i in range(last - first)]

    def text(self, document: int) -> np.ndarray:
        """All tokens of one document, its lines joined."""
        first, last = self.document_starts[document], self.document_starts[document + 1]
        return self.tokens[self.line_starts[first]:self.line_starts[last]]
