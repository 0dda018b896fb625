"""Scores summaries by rouge-score (stemmer on) and looks for collapse.

With several references both customs are given: the best reference of each example, and the mean over references.
Also accepts the JSON lines that `flame generate --json` prints: their index says which example they belong to.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from corpora import read_json_lines

METRICS = ("rouge1", "rouge2", "rougeL")


def references_of(example: dict) -> list[str]:
    """The one or several reference summaries of an example."""
    return example.get("summaries") or [example["summary"]]


def read_texts(predictions: Path) -> list[str]:
    """The predicted texts in the order of the examples."""
    entries = list(read_json_lines(predictions))
    return [entry["text"] for entry in sorted(entries, key=lambda entry: entry.get("index", 0))]


def rouge(texts: list[str], references: list[list[str]]) -> dict[str, dict[str, float]]:
    """F-measures in percent, {"best": {metric: value}, "mean": {...}}."""
    scorer = RougeScorer(METRICS, use_stemmer=True)
    scores = [[[scorer.score(reference, text)[metric].fmeasure for metric in METRICS] for reference in several]
              for text, several in zip(texts, references, strict=True)]
    best, mean = (np.mean([reduce(example, axis=0) for example in scores], axis=0) for reduce in (np.max, np.mean))
    return {name: dict(zip(METRICS, (100 * values).round(2).tolist())) for name, values in
            (("best", best), ("mean", mean))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path, help="JSON lines with a text field")
    parser.add_argument("--references", type=Path, required=True, help="JSON lines with summary or summaries")
    arguments = parser.parse_args()

    texts = read_texts(arguments.predictions)
    references = [references_of(example) for example in read_json_lines(arguments.references)][:len(texts)]
    for custom, values in rouge(texts, references).items():
        print(f"{custom} of references: " + "  ".join(f"{metric} {value:.2f}" for metric, value in values.items()))
    words = np.mean([len(text.split()) for text in texts])
    expected = np.mean([len(reference.split()) for several in references for reference in several])
    print(f"distinct outputs: {100 * len(set(texts)) / len(texts):.1f} % of {len(texts)}")
    print(f"mean words: {words:.1f}, references {expected:.1f} ({100 * (words / expected - 1):+.0f} %)")


if __name__ == "__main__":
    main()
