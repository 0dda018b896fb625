#!/usr/bin/env python3
"""Markdown tables of measured expert prediction beside the paper's figures: tables.py PREDICTION.json PATHS.json"""
import json, sys

data, paths = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
results = data["results"]
experts = max(r["k"] for r in results)
orders = sorted({r["m"] for r in results if r["predictor"] == "cepr"})

def get(predictor, m=0, k=1, depth=1, budget=0):
    for r in results:
        if (r["predictor"], r["m"], r["k"], r["depth"], r.get("budget_bytes", 0)) == (predictor, m, k, depth, budget):
            return r
    return None

def accuracy(predictor, m=0, k=1, depth=1, budget=0):
    r = get(predictor, m, k, depth, budget)
    return f"{100 * r['accuracy']:.2f}" if r else "–"

def label(r):
    name = f"{r['predictor']}({r['m']})" if r["m"] else r["predictor"]
    return name

def table(header, rows):
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()

def best(rows, key=lambda r: r["correct"]):
    return max(rows, key=key, default=None)

print(f"{data['examples']} examples, {data['steps']} decoder steps, {results[0]['positions']} predictions.\n")

print("**Paths** (decoding the test set)\n")
share = {h["tokens_a_path"]: h["paths"] for h in paths["histogram"]}
table(["", "ours", "the paper"], [
    [f"paths that occur, of {paths['paths_possible']:.0f}", paths["paths_distinct"], "11,693"],
    ["share of the hottest path", f"{100 * paths['top1_share']:.2f} %", "7.5 %"],
    ["share of the ten hottest", f"{100 * paths['top10_share']:.2f} %", "28.7 %"],
    ["paths with at most 10 tokens", f"{100 * share['1–10'] / paths['paths_distinct']:.2f} %", "83.35 %"]])

print("**CEPR against incremental prediction**, accuracy in %\n")
table(["m"] + [f"CEPR k = {k}" for k in (1, 2, 5)] + [f"incremental k = {k}" for k in (1, 2, 5)] +
      ["gain at k = 1", "table k = 1"],
      [[m] + [accuracy("cepr", m, k) for k in (1, 2, 5)] + [accuracy("incremental", m, k) for k in (1, 2, 5)] +
       [f"{100 * (get('cepr', m)['accuracy'] - get('incremental', m)['accuracy']):+.2f}", f"{get('cepr', m)['index_bytes']} B"]
       for m in orders])

ceprs = lambda k: [r for r in results if r["predictor"] == "cepr" and r["k"] == k and r["depth"] == 1]
spread = lambda k: f"{100 * min(r['accuracy'] for r in ceprs(k)):.1f}–{100 * max(r['accuracy'] for r in ceprs(k)):.1f} %"
random = get("random")["accuracy"]
last = orders[-1]
gain = 100 * (get("cepr", last)["accuracy"] - get("incremental", last)["accuracy"])
equal = max(((100 * (c["accuracy"] - i["accuracy"]), c, i) for c in ceprs(1)
             for i in [best([r for r in results if r["predictor"] == "incremental" and r["k"] == 1 and r["depth"] == 1
                             and r["index_bytes"] <= c["index_bytes"]])] if i), key=lambda t: t[0], default=None)
print("**Beside the paper**\n")
table(["", "ours", "the paper"], [
    [f"CEPR, k = 1, m = 1…{last}", spread(1), "42.8–75.8 %"],
    ["CEPR, k = 2, best", f"{100 * max(r['accuracy'] for r in ceprs(2)):.1f} %", "84.4 %"],
    [f"CEPR, k = 5, m = 1…{last}", spread(5), "71.4–86.5 %"],
    [f"gain over incremental, k = 1, m = {last}", f"{gain:+.2f} points (relative: {gain / get('incremental', last)['accuracy']:+.1f} %)", "+37.8 %"],
    ["largest gain over the best incremental of no more bytes, k = 1",
     f"{equal[0]:+.2f} points (m = {equal[1]['m']})" if equal else "–", "+9.86 %"],
    [f"over random, k = 1, m = 1…{last}", f"{min(r['accuracy'] for r in ceprs(1)) / random:.2f}–"
     f"{max(r['accuracy'] for r in ceprs(1)) / random:.2f}×", "3.42–6.02×"],
    ["tables at m = 2, 3, k = 1", f"{get('cepr', 2)['index_bytes']} B, {get('cepr', 3)['index_bytes']} B", "under 2 KB"]])

print("**By layer**, k = 1, accuracy in %\n")
layers = len(results[0]["per_layer"])
rows = [("cepr", m) for m in orders] + [("incremental", last), ("token", 0), ("lookahead", 0), ("pre-attention", 0),
                                        ("mix", 0), ("mix-hidden", 0)]
table(["predictor"] + [f"layer {l}" for l in range(layers)],
      [[label(r)] + [f"{100 * a:.1f}" for a in r["per_layer"]] for p, m in rows if (r := get(p, m))])

print("**Every predictor**, accuracy in % of the next layer (and two and three layers ahead at k = 1 and 2)\n")
seen, rows = set(), []
for r in results:
    key = (r["predictor"], r["m"])
    if key in seen or r.get("budget_bytes") or r["depth"] != 1: continue
    seen.add(key)
    p, m = key
    rows.append([label(r)] + [accuracy(p, m, k) for k in (1, 2, 3, 5)] +
                [f"{accuracy(p, m, 1, d)} / {accuracy(p, m, 2, d)}" for d in (2, 3)] +
                [f"{100 * r['interval'][0]:.1f}–{100 * r['interval'][1]:.1f}", r["index_bytes"], r["seen_bytes"],
                 f"{r['log_loss']:.3f}" if "log_loss" in r else "–", f"{r['operations']:.0f}"])
table(["predictor", "k = 1", "k = 2", "k = 3", "k = 5", "2 ahead", "3 ahead", "95 % at k = 1", "table B, k = 1",
       "seen only B", "log loss", "operations"], rows)

print("**Calibration**: the mean probability promised for the k experts named, against the accuracy, in %; log loss in nats\n")
rows = []
for p, m in [("cepr", 3), ("cepr", last), ("backoff", last), ("online", last)] + [(name, 0) for name in (
        "token", "token-path", "mix", "next-router", "lookahead", "pre-attention", "mix-hidden")]:
    at = [get(p, m, k) for k in (1, 2)]
    if all(at) and "promised" in at[0]:
        rows.append([label(at[0])] + [f"{100 * r['promised']:.1f} / {100 * r['accuracy']:.1f}" for r in at] +
                    [f"{at[0]['log_loss']:.3f}"])
table(["predictor", "k = 1, promised / kept", "k = 2, promised / kept", "log loss"], rows)

print("**At equal index storage**, accuracy in %\n")
states = {"next-router", "lookahead", "pre-attention", "mix-hidden"}
rows = []
for limit in (256, 2048, 16384, 131072, None):
    for k in (1, 2):
        fits = [r for r in results if r["k"] == k and r["depth"] == 1 and r["predictor"] not in ("oracle", "belady") and
                (limit is None or min(r["index_bytes"], r["seen_bytes"]) <= limit)]
        cell = lambda r: (f"{100 * r['accuracy']:.2f} {label(r)}" if r else "–")
        rows.append([f"{limit} B" if limit else "no limit", k,
                     cell(best([r for r in fits if r["predictor"] == "cepr"])),
                     cell(best([r for r in fits if r["predictor"] == "incremental"])),
                     cell(best([r for r in fits if r["predictor"] not in states])), cell(best(fits))])
table(["bytes", "k", "best CEPR", "best incremental", "best of tables", "best with hidden states"], rows)
