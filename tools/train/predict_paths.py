"""Accuracy of CEPR(m) against incremental(m) prediction of decoder experts, trained and tested on other dialogues.

CEPR(m) predicts the expert at position p of the circular path from the m experts before it, across token borders;
incremental(m) uses only those of the same token. Both count contexts per layer, rank ties by the layer's popularity
and then by id, and back off to m - 1 where a context was never seen or reaches before the example.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np


class Predictor:
    """Counting tables for every context length up to m; `circular` tells CEPR from incremental."""

    def __init__(self, context: int, layers: int, num_experts: int, circular: bool):
        self.context, self.layers, self.num_experts, self.circular = context, layers, num_experts, circular
        self.counts: dict[tuple, Counter] = defaultdict(Counter)
        self.ranking: dict[tuple, list[int]] = {}

    def _contexts(self, path: np.ndarray, position: int) -> list[tuple]:
        """The table keys for a position, the longest context first."""
        layer = position % self.layers
        longest = min(self.context, position if self.circular else layer)
        return [(layer, *path[position - length:position]) for length in range(longest, -1, -1)]

    def fit(self, paths: list[np.ndarray]) -> None:
        """Counts the experts after every context and ranks them."""
        for path in paths:
            for position, expert in enumerate(path):
                for key in self._contexts(path, position):
                    self.counts[key][expert] += 1
        for key, counter in self.counts.items():
            popularity = self.counts[key[:1]]
            self.ranking[key] = sorted(range(self.num_experts),
                                       key=lambda expert: (-counter[expert], -popularity[expert], expert))

    def ranks(self, path: np.ndarray) -> list[int]:
        """The rank given to the true expert at each position, 0 the best."""
        result = []
        for position, expert in enumerate(path):
            key = next((key for key in self._contexts(path, position) if key in self.ranking), None)
            result.append(self.ranking[key].index(expert) if key else int(expert))
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("routing", type=Path, help=".npz written by record_routing.py")
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the dialogues to test on")
    parser.add_argument("--top", type=int, nargs="+", default=[1, 2], help="experts ranked first that count")
    arguments = parser.parse_args()

    with np.load(arguments.routing) as record:
        num_experts, experts, example = int(record["num_experts"]), record["decoder_experts"], record["decoder_example"]
    paths = [experts[example == number].ravel() for number in range(example.max() + 1)]
    border = round(len(paths) * (1 - arguments.held_out))
    print(f"{border} dialogues to count, {len(paths) - border} to test, "
          f"{sum(map(len, paths[border:])):,} positions; accuracy in %")
    for m in range(1, 7):
        cells = []
        for name, circular in (("CEPR", True), ("incremental", False)):
            predictor = Predictor(m, experts.shape[1], num_experts, circular)
            predictor.fit(paths[:border])
            ranks = np.concatenate([predictor.ranks(path) for path in paths[border:]])
            cells += [f"{name} top {k} {100 * np.mean(ranks < k):5.2f}" for k in arguments.top]
        print(f"m = {m}: " + ", ".join(cells))


if __name__ == "__main__":
    main()
