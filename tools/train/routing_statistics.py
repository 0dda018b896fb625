"""Is the routing alive? Load of every expert, what token id and position explain, and the path statistics.

Reads what record_routing.py wrote.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

# Section 2 of the FLAME paper (switch-base-8 on SAMSum): paths that occur, share of the most frequent path, of the ten
# most frequent, and share of the paths that at most ten tokens take.
PAPER = {"paths": 11_693, "top 1": 7.5, "top 10": 28.7, "rare paths": 83.35}


def entropy(counts: np.ndarray) -> float:
    """Entropy in bits of a table of counts."""
    probability = counts[counts > 0] / counts.sum()
    return float(-(probability * np.log2(probability)).sum())


def mutual_information(expert: np.ndarray, other: np.ndarray) -> float:
    """Plug-in estimate in bits between two columns of small non-negative integers."""
    joint = np.zeros((expert.max() + 1, other.max() + 1), dtype=np.int64)
    np.add.at(joint, (expert, other), 1)
    return entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.ravel())


def explained(expert: np.ndarray, other: np.ndarray) -> float:
    """Percent of the routing entropy that the other column explains.

    The plug-in estimate is too high where values are rare; what it gives for shuffled experts is taken off.
    """
    chance = mutual_information(np.random.default_rng(0).permutation(expert), other)
    total = entropy(np.bincount(expert))
    return 100 * (mutual_information(expert, other) - chance) / (total - chance) if total > chance else 100.0


def path_statistics(experts: np.ndarray, num_experts: int) -> dict[str, float]:
    """The paper's figures for per-token paths; experts is [tokens, layers]."""
    codes = experts.astype(np.int64) @ num_experts ** np.arange(experts.shape[1])
    counts = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
    return {"paths": len(counts), "top 1": 100 * counts[0] / len(codes), "top 10": 100 * counts[:10].sum() / len(codes),
            "rare paths": 100 * np.mean(counts <= 10)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("routing", type=Path, help=".npz written by record_routing.py")
    arguments = parser.parse_args()

    with np.load(arguments.routing) as record:
        num_experts = int(record["num_experts"])
        for stack in ("encoder", "decoder"):
            experts = record[f"{stack}_experts"]
            print(f"{stack}: {len(experts):,} tokens")
            for layer, expert in enumerate(experts.T):
                load = 100 * np.bincount(expert, minlength=num_experts) / len(expert)
                print(f"  MoE layer {layer}: load % " + " ".join(f"{share:4.1f}" for share in load)
                      + f"; explained by token id {explained(expert, record[f'{stack}_token']):.0f} %"
                      + f", by position {explained(expert, record[f'{stack}_position']):.0f} %")
        experts = record["decoder_experts"]
        print(f"decoder paths: {num_experts ** experts.shape[1]:,} possible, {len(experts):,} tokens")
        for name, value in path_statistics(experts, num_experts).items():
            print(f"  {name}: {value:,.2f} (paper {PAPER[name]:,})")


if __name__ == "__main__":
    main()
