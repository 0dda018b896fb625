#!/usr/bin/env python3
"""Accuracy of CEPR(m) and incremental(m), counted straight from trace files, to check FLAME's own figures against.

    python3 tools/prediction/reference.py --profile train.trace --score test.trace [--orders 6] > reference.json

Prints {"results": [{"predictor", "m", "k", "positions", "correct", "per_layer_correct"}]}, k = 1..E.
"""
import argparse, collections, json
from safetensors import safe_open

def paths(name):
    """The circular path of each example of a trace, and the number of layers and experts."""
    with safe_open(name, "numpy") as trace:
        experts, example = trace.get_tensor("decoder.experts"), trace.get_tensor("decoder.example")
        count = int((trace.metadata() or {}).get("experts", 0)) or int(experts.max()) + 1
    by_example = collections.defaultdict(list)
    for number, step in zip(example.tolist(), experts.tolist()):
        by_example[number].extend(step)
    return list(by_example.values()), experts.shape[1], count

def contexts(path, p, layer, m, kind):
    """The contexts of position p from the longest to the empty one: the min(m, ...) experts before it."""
    longest = min(m, p if kind == "cepr" else layer)
    return [tuple(path[p - order:p]) for order in range(longest, -1, -1)]

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", required=True, nargs="+")
    parser.add_argument("--score", required=True)
    parser.add_argument("--orders", type=int, default=6)
    options = parser.parse_args()
    counts = collections.defaultdict(collections.Counter)  # (layer, context) -> how often each expert came next
    for name in options.profile:
        profiled, layers, _ = paths(name)
        for path in profiled:
            for p, expert in enumerate(path):
                for context in contexts(path, p, p % layers, options.orders, "cepr"):
                    counts[p % layers, context][expert] += 1
    scored, layers, experts = paths(options.score)
    results = []
    for kind in ("cepr", "incremental"):
        for m in range(1, options.orders + 1):
            place = [[0] * experts for _ in range(layers)]  # [layer][place of the true expert in the ranking]
            for path in scored:
                for p, expert in enumerate(path):
                    layer = p % layers
                    seen = next(counts[layer, c] for c in contexts(path, p, layer, m, kind) if (layer, c) in counts or not c)
                    popular = counts[layer, ()]
                    ranking = sorted(range(experts), key=lambda e: (-seen[e], -popular[e], e))
                    place[layer][ranking.index(expert)] += 1
            for k in range(1, experts + 1):
                correct = [sum(row[:k]) for row in place]
                results.append({"predictor": kind, "m": m, "k": k, "positions": sum(map(sum, place)),
                                "correct": sum(correct), "per_layer_correct": correct})
    print(json.dumps({"results": results}))

main()
