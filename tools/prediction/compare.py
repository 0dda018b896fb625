#!/usr/bin/env python3
"""Compares the counts of `flame eval prediction --json` with those of reference.py: compare.py FLAME.json REFERENCE.json"""
import json, sys

ours = {(r["predictor"], r["m"], r["k"]): r for r in json.load(open(sys.argv[1]))["results"] if r["depth"] == 1}
reference = json.load(open(sys.argv[2]))["results"]
for expected in reference:
    found = ours[expected["predictor"], expected["m"], expected["k"]]
    for key in ("positions", "correct", "per_layer_correct"):
        if found[key] != expected[key]:
            sys.exit(f"{expected['predictor']}({expected['m']}), k = {expected['k']}: {key} {found[key]}, "
                     f"the reference counts {expected[key]}")
print(f"{len(reference)} accuracies agree to the last count")
