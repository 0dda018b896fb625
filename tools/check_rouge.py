#!/usr/bin/env python3
"""Compares `flame eval rouge` with the rouge-score package on texts that were generated.

    python tools/check_rouge.py FLAME PREDICTIONS.jsonl EXAMPLES.jsonl REFERENCES_KEY

FLAME is the program, PREDICTIONS what it generated, REFERENCES_KEY the key of a list of references. Needs rouge-score.
"""

import json
import pathlib
import subprocess
import sys

from rouge_score import rouge_scorer

MEASURES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def main():
    program, predictions_file, examples_file, key = sys.argv[1:]
    predictions = [json.loads(line) for line in pathlib.Path(predictions_file).read_text().splitlines()]
    examples = [json.loads(line) for line in pathlib.Path(examples_file).read_text().splitlines()]
    scorer = rouge_scorer.RougeScorer(MEASURES, use_stemmer=True)
    scores = [scorer.score_multi(examples[p["index"]][key], p["text"]) for p in predictions]

    command = [program, "eval", "rouge", "--predictions", predictions_file, "--input", examples_file, "--reference", key,
               "--limit", str(len(predictions)), "--json"]
    ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["rouge"]
    worst = 0.0
    for measure in MEASURES:
        for part, name in (("precision", "precision"), ("recall", "recall"), ("fmeasure", "f")):
            theirs = sum(getattr(score[measure], part) for score in scores) / len(scores)
            worst = max(worst, abs(theirs - ours[measure][name]["mean"]))
    print(f"{len(predictions)} texts: largest difference of a mean {worst:.1e}")
    assert worst < 1e-6


if __name__ == "__main__":
    main()
