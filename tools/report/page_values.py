"""What the tables of a report's page must hold, computed from the JSON files beside it and from nothing else.

A cell is a text, which must be there as it is, a number, which must round to what is shown, or a pair of numbers, shown as
"LOW to HIGH". The paper's numbers are typed here a second time, from the paper.
"""

import json

MISSING = "–"


class Data:
    """The directory with the measurements."""

    def __init__(self, directory):
        self.directory = directory
        self.report = json.loads((directory / "report.json").read_text())

    def __call__(self, name):
        """What the measurement's command printed."""
        return json.loads((self.directory / f"{name}.json").read_text())["output"]

    def given(self, name):
        """A file that another program wrote; None where there is none."""
        path = self.directory / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def model(self):
        return self.report["subject"]["model"].rstrip("/").rsplit("/", 1)[-1]

    @property
    def others(self):
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in self.report["subject"]["also"]]


def one(results, **keys):
    """The first result with these values."""
    return next(r for r in results if all(r.get(key) == value for key, value in keys.items()))


def median(result):
    return result["seconds_per_token"]["median"]


def cells(results):
    def row(cell):
        rouge = [100 * cell["rouge"][name]["f"]["mean"] for name in ("rouge1", "rouge2", "rougeL")]
        return [cell["name"], *rouge, cell["perplexity"], cell["relative_error"], min(cell["index_bytes"].values()),
                cell["smallest_index"]]  # fmt: skip

    return [row(cell) for cell in results]


def shares(data):
    names = [f"switch-base-{experts}" for experts in (8, 16, 32, 64, 128, 256)]
    measured = [(name, data(f"inspect-{name}")) for name in names] + [(data.model, data("inspect"))]
    return [[[name, 100 * m["expert_share"], 100 * m["expert_share_without_embeddings"]] for name, m in measured]]


def histogram(data):
    return [[[row["tokens_a_path"], row["paths"], row["tokens"]] for row in data("paths")["histogram"]]]


def hottest(data):
    paths = data("paths")
    return [[[rank, " → ".join(map(str, path["experts"])), path["tokens"], 100 * path["tokens"] / paths["tokens"]]
             for rank, path in enumerate(paths["hottest"], 1)]]  # fmt: skip


def predicted(data, predictor, m, k, budget=0):
    return next((r for r in data("prediction")["results"] if r["predictor"] == predictor and r["m"] == m and r["k"] == k and
                 r.get("depth", 1) == 1 and r.get("budget_bytes", 0) == budget), None)  # fmt: skip


def by_layer(data):
    rows = []
    for predictor in ("cepr", "incremental"):
        for m in sorted({r["m"] for r in data("prediction")["results"] if r["predictor"] == predictor}):
            at = {k: predicted(data, predictor, m, k) for k in (1, 2, 5)}
            rows.append([predictor, m, *(100 * r["accuracy"] if r else MISSING for r in at.values()),
                         at[2]["index_bytes"] if at[2] else MISSING])  # fmt: skip
    return [rows]


def label(result):
    ordered = result["predictor"] in ("cepr", "incremental", "backoff", "online")
    return f"{result['predictor']}({result['m']})" if ordered else result["predictor"]


def hits(data):
    rows = {}
    for result in data("buffer-paper")["results"]:
        rows.setdefault(label(result), []).append(100 * result["hit_ratio"])
    return [[[name, *values] for name, values in rows.items()]]


def storage(data):
    found = [predicted(data, "cepr", m, 2) for m in sorted({r["m"] for r in data("prediction")["results"] if r["predictor"] == "cepr"})]
    return [[[r["m"], r["index_bytes"], r.get("seen_bytes", MISSING), 100 * r["accuracy"]] for r in found if r["m"]]]


def expert_bytes(data, pattern, dtype):
    written = "1:1" if pattern == "dense" else pattern
    return one(data("inspect")["formats"], pattern=written, dtype=dtype)["expert_bytes"]


def slots_and_sparsity(data):
    cpu = []
    for pattern in ("dense", "2:4", "1:4"):
        results = data(f"buffer-{pattern.replace(':', '_')}")["results"]
        for r in results:
            if r["predictor"] != "cepr":
                continue
            other = [1e3 * one(results, predictor=p, slots=r["slots"])["latency_seconds"] for p in ("lru", "oracle")]
            cpu.append([f"{pattern} int8", r["slots"], r["slots"] * expert_bytes(data, pattern, "int8") / 1024,
                        1e3 * r["latency_seconds"], *other, 100 * r["hit_ratio"]])  # fmt: skip
    fpga = [[f"{r['pattern']} int8", r["configuration"], r["slots"], r["budget_bytes"] / 1024, r["cycles_per_token"],
             1e6 * median(r), 100 * r["hit_ratio"]] for r in data("accelerator-sweep")["sweep"] if r["scope"] == "moe"]  # fmt: skip
    return [cpu, fpga]


def accelerator_rows(simulated, device):
    rows = []
    clock = 1e3 * simulated["clock_mhz"]
    for r in simulated["results"]:
        if r["scope"] == "decoder":
            first = simulated["results"][[s["scope"] for s in simulated["results"]].index("decoder")]
            rows.append([device, r["configuration"], f"{r['pattern']} int8", r["budget_bytes"] / 1024, r["slots"], 100 * r["hit_ratio"],
                         1e3 * median(r), r["moe_cycles_per_token"] / clock, first["moe_cycles_per_token"] / r["moe_cycles_per_token"]])  # fmt: skip
    return rows


def speeds(data):
    table, how = [], []
    for name in ("transformers", "gpu"):
        given = data.given(name)
        if given is None:
            continue
        device = f"{given['device']}, transformers {given['transformers']}"
        for dtype in sorted({r["dtype"] for r in given["results"]}):
            times = [1e3 * median(one(given["results"], dtype=dtype, scope=scope)) for scope in ("decoder", "moe")]
            table.append([device, "all resident", f"dense {dtype}", "all", MISSING, MISSING, *times, MISSING])
        how.append([device, given["prompt_tokens"], given["new_tokens"], given["repeats"], "its own routers, random ids",
                    "median of the repeats"])  # fmt: skip
    bench = data("bench")
    cpu = f"CPU, {bench['threads']} threads, FLAME"
    neither = median(one(bench["results"], configuration="neither", scope="moe"))

    def cpu_row(measured, configuration, name):
        whole = one(measured["results"], configuration=configuration, scope="decoder")
        moe = one(measured["results"], configuration=configuration, scope="moe")
        table.append([cpu, name, f"{whole['pattern']} {whole['dtype']}", whole["budget_bytes"] / 1024, whole["slots"],
                      100 * whole["hit_ratio"], 1e3 * median(whole), 1e3 * median(moe), neither / median(moe)])  # fmt: skip

    for dtype in ("bf16", "f32"):
        cpu_row(data(f"bench-dense-{dtype}"), "resident", "all resident")
    for configuration in ("neither", "CEPR", "N:M", "both"):
        cpu_row(bench, configuration, configuration)
    cpu_row(bench, "resident", "all resident")
    how.append([cpu, bench["input_tokens"], bench["output_tokens"], bench["repeats"],
                "as in the second half of the test trace, random ids", "median of the repeats"])  # fmt: skip
    own, base, whole = data("accelerator"), data("accelerator-switch-base"), data("accelerator-whole-experts")
    table += accelerator_rows(own, "accelerator, simulated")
    for simulated, device in ((own, "accelerator, simulated"), (base, f"accelerator, {base['model']}")):
        how.append([device, "none: decoder only", simulated["results"][0]["tokens"], 1, "as in the second half of the test trace",
                    f"cycles at {simulated['clock_mhz']:.0f} MHz, an assumption; dense layers modelled"])  # fmt: skip
    return [table, accelerator_rows(base, f"accelerator, {base['model']}") + accelerator_rows(whole, "the same, whole experts"), how]


def gains(data):
    """What each idea gains on the CPU: the table of the summary."""
    results = data("bench")["results"]
    first = [median(one(results, configuration="neither", scope=scope)) for scope in ("decoder", "moe")]
    rows = []
    for configuration in ("neither", "CEPR", "N:M", "both", "resident"):
        whole, moe = (one(results, configuration=configuration, scope=scope) for scope in ("decoder", "moe"))
        rows.append([configuration, f"{whole['pattern']} {whole['dtype']}", whole["slots"], 1e3 * median(whole),
                     first[0] / median(whole), 1e3 * median(moe), first[1] / median(moe)])  # fmt: skip
    return rows


def against_bytes(data):
    rows = []
    for r in data("prediction")["results"]:
        if r["k"] == 1 and r.get("depth", 1) == 1:
            two = predicted(data, r["predictor"], r["m"], 2, r.get("budget_bytes", 0))
            rows.append([r["predictor"], r["m"], 100 * r["accuracy"], 100 * two["accuracy"] if two else MISSING, r["index_bytes"],
                         r.get("operations", 0)])  # fmt: skip
    return [rows]


def memory(data):
    rows = []
    for bandwidth in ("100MB/s", "500MB/s", "2GB/s"):
        results = data(f"memory-{bandwidth.replace('/', '')}")["results"]
        for r in results:
            if r["scope"] == "decoder" and r["configuration"] == "both":
                demand = one(results, configuration="N:M", scope="decoder", budget_bytes=r["budget_bytes"])
                times = [1e3 * r["seconds_per_token"][key] for key in ("median", "min", "max")]
                rows.append([bandwidth, r["budget_bytes"] / 1024, r["slots"], *times, 1e3 * median(demand), median(demand) / median(r),
                             100 * r["hit_ratio"]])  # fmt: skip
    return [rows]


def budget_bytes(data):
    """The subject's budget; a share is one of the model's 2:4 int8 experts, each from a page's beginning."""
    text = data.report["subject"]["expert_memory"]
    if text.endswith("%"):
        page = -(-expert_bytes(data, "2:4", "int8") // 4096) * 4096
        return int(float(text[:-1]) / 100 * data("inspect")["experts"] * page + 0.5)
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}
    for unit, size in units.items():
        if text.endswith(unit):
            return int(float(text[: -len(unit)]) * size)
    return int(text)


def types(data):
    rows = []
    for pattern in ("dense", "2:4", "1:4"):
        for dtype in ("bf16", "int8", "int4"):
            rouge = data(f"dtype-{pattern.replace(':', '_')}-{dtype}")["rouge"]
            size = expert_bytes(data, pattern, dtype)
            slots = min(budget_bytes(data) // (-(-size // 4096) * 4096), data("inspect")["experts"])
            rows.append([f"{pattern} {dtype}", size, slots, *(100 * rouge[n]["f"]["mean"] for n in ("rouge1", "rouge2", "rougeL"))])
    return [rows]


def ladder(data):
    steps = ("on demand", "packed", "loaded ahead", "kept")
    found = [one(data("bench")["results"], configuration=f"ladder {i}: {step}", scope="decoder") for i, step in enumerate(steps, 1)]
    return [[[step, f"{r['pattern']} {r['dtype']}", r["slots"], r["budget_bytes"] / 1024,
              *(1e3 * r["seconds_per_token"][key] for key in ("median", "min", "max")), median(found[0]) / median(r)]
             for step, r in zip(steps, found)]]  # fmt: skip


def timeline(data):
    """The last three whole tokens, which begin where the decoder's first MoE layer routes."""
    events = [e for e in data.given("timeline.trace") if e["ph"] == "X"]
    begins = sorted(e["ts"] for e in events if e["name"] == "route decoder layer 0")
    begin, end = begins[-1 - min(3, len(begins) - 1)], begins[-1]
    rows = []
    for lane in ("route", "compute", "wait", "load"):
        kinds = ("wait for",) if lane == "wait" else (lane,)
        total = sum(max(0, min(e["ts"] + e["dur"], end) - max(e["ts"], begin)) for e in events if e["cat"] in kinds)
        rows.append([lane, total / 1e3, 100 * total / (end - begin)])
    return [rows]


def cycles(data):
    tables = []
    order = ["array busy", "waiting for weights", "token and router", "expert buffer", "fetching commands", "scales, turn, drain",
             "writing results"]  # fmt: skip
    for name in ("accelerator", "accelerator-switch-base"):
        moe = [r for r in data(name)["results"] if r["scope"] == "moe"]
        kinds = order + [k for k in moe[0]["cycles"] if k not in order and any(r["cycles"][k] > 0 for r in moe)]
        tables.append([[r["configuration"], f"{r['pattern']} int8", r["cycles_per_token"], *(r["cycles"].get(k, 0) for k in kinds)]
                       for r in moe])  # fmt: skip
    return tables


TABLES = {
    "fig4a": shares,
    "fig4b": lambda data: [cells(data("pruning-half")["results"])],
    "fig5a": lambda data: [],
    "fig5b": histogram,
    "fig6a": lambda data: [],
    "fig6b": hottest,
    "fig7": lambda data: [cells(data(name)["results"]) for name in
                          ["pruning-sweep", *(f"pruning-sweep-{other}" for other in data.others)]],
    "fig8a": by_layer,
    "fig8b": hits,
    "fig9a": storage,
    "fig9b": slots_and_sparsity,
    "table1": speeds,
    "bytes": against_bytes,
    "memory": memory,
    "dtypes": types,
    "ladder": ladder,
    "timeline": timeline,
    "cycles": cycles,
}  # fmt: skip


PAPERS_PRUNING = (1.36, 1.82)
PAPERS_PREDICTION = (1.48, 1.98)
PAPERS_BOTH = 2.69


def share_comparisons(data):
    shown = (("switch-base-8", 76.15), ("switch-base-256", 98.98))
    return [[f"{name} by its configuration, embeddings left out", 100 * data(f"inspect-{name}")["expert_share_without_embeddings"], papers]
            for name, papers in shown]  # fmt: skip


def strategy_comparisons(data):
    return [[f"ROUGE-1 of {c['pattern']} against {c['baseline']}", c["rouge1"]["percent"],
             MISSING if c.get("paper_percent") is None else c["paper_percent"]]
            for c in data("pruning-half")["comparisons"]]  # fmt: skip


def frequency_comparisons(data):
    paths = data("paths")
    return [["distinct paths", paths["paths_distinct"], 11693], ["hottest path", 100 * paths["top1_share"], 7.5],
            ["ten hottest", 100 * paths["top10_share"], 28.7]]  # fmt: skip


def histogram_comparisons(data):
    paths = data("paths")
    return [["paths of at most 10 tokens", 100 * paths["histogram"][0]["paths"] / paths["paths_distinct"], 83.35]]


def hottest_comparisons(data):
    found = [row[3] for row in hottest(data)[0]]
    return [["hottest path", found[0], 7.5],
            [f"{len(found)} hottest together", sum(found), 28.7 if len(found) == 10 else MISSING]]  # fmt: skip


def prediction_comparisons(data):
    results = data("prediction")["results"]
    orders = {p: sorted({r["m"] for r in results if r["predictor"] == p}) for p in ("cepr", "incremental")}
    if not orders["cepr"] or not orders["incremental"]:
        return []

    def accuracies(k):
        found = [predicted(data, "cepr", m, k) for m in orders["cepr"] if m]
        return [100 * r["accuracy"] for r in found if r]

    one_, two, five = accuracies(1), accuracies(2), accuracies(5)
    last = orders["cepr"][-1]
    against = predicted(data, "incremental", orders["incremental"][-1], 1)
    rows = [["CEPR, k = 1, over m", (min(one_), max(one_)), (42.8, 75.8)], ["CEPR, k = 2, best", max(two), 84.4]]
    if five:  # a layer of fewer experts has no five
        rows.append(["CEPR, k = 5, over m", (min(five), max(five)), (71.4, 86.5)])
    rows.append([f"CEPR over incremental, k = 1, m = {last}",
                 100 * (predicted(data, "cepr", last, 1)["accuracy"] / against["accuracy"] - 1), 37.8])  # fmt: skip
    gains_at_equal = []
    for m in orders["cepr"]:
        cepr = predicted(data, "cepr", m, 1)
        if m and cepr:
            others = [predicted(data, "incremental", n, 1) for n in orders["incremental"]]
            fitting = [r["accuracy"] for r in others if r and r["index_bytes"] <= cepr["index_bytes"]]
            gains_at_equal += [cepr["accuracy"] / max(fitting) - 1] if fitting and max(fitting) > 0 else []
    if gains_at_equal:
        rows.append(["the same at equal index storage, at its most", 100 * max(gains_at_equal), 9.86])
    random = predicted(data, "random", 0, 1)
    if random and random["accuracy"] > 0:
        chance = 100 * random["accuracy"]
        rows.append(["CEPR over random, k = 1, over m", (min(one_) / chance, max(one_) / chance), (3.42, 6.02)])
    return rows


def hit_comparisons(data):
    found = [row[2] for row in hits(data)[0] if row[0].startswith("cepr(") and len(row) > 2]
    return [["CEPR with two slots, best m", max(found, default=0), 84.4]]


def storage_comparisons(data):
    return [[f"bytes at m = {row[0]}, k = 2", row[1], "below 2048"] for row in storage(data)[0] if row[0] in (2, 3)]


def moe_speed(simulated, configuration, pattern):
    """Of the MoE layers on the accelerator, times neither."""
    cycles_of = [one(simulated["results"], scope="decoder", configuration=c, pattern=p)["moe_cycles_per_token"]
                 for c, p in (("neither", "dense"), (configuration, pattern))]  # fmt: skip
    return cycles_of[0] / cycles_of[1]


def speed_comparisons(data):
    base = data("accelerator-switch-base")
    measured = (("this model", data("accelerator")), (f"{base['model']}'s size", base),
                (f"{base['model']}'s size, whole experts", data("accelerator-whole-experts")))  # fmt: skip
    switched = (("N:M alone, 2:4", "N:M", "2:4", PAPERS_PRUNING), ("N:M alone, 1:4", "N:M", "1:4", PAPERS_PRUNING),
                ("CEPR alone", "CEPR", "dense", PAPERS_PREDICTION), ("both, 2:4", "both", "2:4", PAPERS_BOTH),
                ("both, 1:4", "both", "1:4", PAPERS_BOTH))  # fmt: skip
    return [[f"{name}, over neither: {where}", moe_speed(simulated, configuration, pattern), papers]
            for name, configuration, pattern, papers in switched for where, simulated in measured]  # fmt: skip


# Rows of the tables "ours | the paper's", which stand before the others; an item that is not named has none.
COMPARISONS = {
    "fig4a": share_comparisons,
    "fig4b": strategy_comparisons,
    "fig5a": frequency_comparisons,
    "fig5b": histogram_comparisons,
    "fig6b": hottest_comparisons,
    "fig8a": prediction_comparisons,
    "fig8b": hit_comparisons,
    "fig9a": storage_comparisons,
    "table1": speed_comparisons,
}


LOGARITHMIC_X = ("fig5a", "bytes", "dtypes")
LOGARITHMIC_Y = ("fig5a", "fig9a")


def ranks(data):
    """Ranks a factor of 1.1 apart, the first and the last."""
    paths = data("paths")
    points, following = [], 1.0
    for rank, tokens in enumerate(paths["tokens_by_rank"], 1):
        if rank < following and rank != len(paths["tokens_by_rank"]):
            continue
        following = max(following + 1, following * 1.1)
        points.append((rank, 100 * tokens / paths["tokens"]))
    return [points]


def sweep_lines(results, quality):
    lines = {}
    dense = one(results, method="dense")
    for cell in results:
        if cell["method"] == "dense":
            continue
        name = f"N:M {cell['pattern'].split(':')[1]}" if cell["method"] == "magnitude" else cell["method"]
        lines.setdefault(name, [(0, quality(dense))]).append((100 * cell["zeros"], quality(cell)))
    return [sorted(line, key=lambda point: point[0]) for line in lines.values()]


def sweeps(data):
    plots = {}
    for name in [data.model, *data.others]:
        own = name == data.model
        results = data("pruning-sweep" if own else f"pruning-sweep-{name}")["results"]
        figure = "fig7" if own else f"fig7-{name}"
        plots[figure] = sweep_lines(results, lambda cell: 100 * cell["rouge"]["rouge1"]["f"]["mean"])
        plots[f"{figure}-perplexity"] = sweep_lines(results, lambda cell: cell["perplexity"])
    return plots


def layer_lines(data):
    orders = {p: sorted({r["m"] for r in data("prediction")["results"] if r["predictor"] == p}) for p in ("cepr", "incremental")}
    chosen = [("cepr", m) for m in orders["cepr"]]
    chosen += [("incremental", m) for m in orders["incremental"] if m in (1, orders["incremental"][-1])]
    return [[(layer, 100 * a) for layer, a in enumerate(predicted(data, p, m, 1)["per_layer"])] for p, m in chosen]


def hit_lines(data, wanted):
    lines = {}
    for result in data("buffer-paper")["results"]:
        if wanted(label(result)):
            lines.setdefault(label(result), []).append((result["slots"], 100 * result["hit_ratio"]))
    return list(lines.values())


OTHERS = ("cepr(3)", "incremental(3)", "token", "mix", "mix-hidden", "popularity", "previous-token", "random", "lru", "lifo", "belady")


def storage_lines(data):
    rows = [[float(value) for value in row if value != MISSING] for row in storage(data)[0]]
    return [[(row[0], row[1]) for row in rows], [(row[0], row[2]) for row in rows if len(row) == 4]]


def cpu_lines(data):
    lines = []
    for pattern in ("dense", "2_4", "1_4"):
        for predictor in ("cepr", "lru"):
            lines.append([(r["slots"], 1e3 * r["latency_seconds"]) for r in data(f"buffer-{pattern}")["results"]
                          if r["predictor"] == predictor])  # fmt: skip
    return lines


def fpga_lines(data):
    rows = [r for r in data("accelerator-sweep")["sweep"] if r["scope"] == "moe"]
    return [[(r["slots"], r["cycles_per_token"] / 1e3) for r in rows if r["pattern"] == pattern and
             (r["configuration"] in ("both", "CEPR")) == predicts]
            for pattern in ("dense", "2:4", "1:4") for predicts in (True, False)]  # fmt: skip


def byte_lines(data):
    lines = {}
    for r in data("prediction")["results"]:
        if r["k"] == 1 and r.get("depth", 1) == 1 and r["predictor"] not in ("oracle", "belady"):
            lines.setdefault(r["predictor"], []).append((r["index_bytes"], 100 * r["accuracy"]))
    return [sorted(lines[name], key=lambda point: point[0]) for name in sorted(lines)]


def memory_lines(data):
    lines = []
    for bandwidth in ("100MBs", "500MBs", "2GBs"):
        rows = [r for r in data(f"memory-{bandwidth}")["results"] if r["scope"] == "decoder"]
        most = max(r["budget_bytes"] for r in rows)
        for configuration in ("both", "N:M"):
            lines.append([(100 * r["budget_bytes"] / most, 1e3 * median(r)) for r in rows if r["configuration"] == configuration])
    return lines


def type_lines(data):
    """Each a point of its own, for its mark is that of its type."""
    return [[(row[1], row[3])] for row in types(data)[0]]


def plots(data):
    """The points of every line chart, by its id: a list of (x, y) for each series, in the order drawn."""
    return {
        "fig5a": lambda: ranks(data),
        **{f"fig7{part}": (lambda figure: lambda: sweeps(data)[figure])(f"fig7{part}") for part in
           ["", "-perplexity", *(f"-{other}{suffix}" for other in data.others for suffix in ("", "-perplexity"))]},
        "fig8a": lambda: layer_lines(data),
        "fig8b": lambda: hit_lines(data, lambda name: name.startswith("cepr(") or name == "belady"),
        "fig8b-others": lambda: hit_lines(data, lambda name: name in OTHERS),
        "fig9a": lambda: storage_lines(data),
        "fig9b": lambda: cpu_lines(data),
        "fig9b-fpga": lambda: fpga_lines(data),
        "bytes": lambda: byte_lines(data),
        "memory": lambda: memory_lines(data),
        "dtypes": lambda: type_lines(data),
    }


def share_bars(data):
    return [[(0, value) for value in row[1:]] for row in shares(data)[0][:-1]]


def strategy_bars(data):
    return [[(0, row[1])] for row in cells(data("pruning-half")["results"])]


def index_bars(data):
    results = [cell for cell in data("pruning-half")["results"] if cell["method"] != "dense"]
    return [[(0, row[6] / 1024)] for row in cells(results)]


def histogram_bars(data):
    paths = data("paths")
    return [[(0, 100 * row[1] / paths["paths_distinct"]), (0, 100 * row[2] / paths["tokens"])] for row in histogram(data)[0]]


def speed_bars(data):
    bench = data("bench")["results"]
    groups = []
    for configuration, pattern in (("neither", "dense"), ("CEPR", "dense"), ("N:M", "2:4"), ("both", "2:4")):
        cpu = [median(one(bench, configuration=c, scope="moe")) for c in ("neither", configuration)]
        groups.append([(0, moe_speed(data(name), configuration, pattern)) for name in ("accelerator", "accelerator-switch-base")] +
                      [(0, cpu[0] / cpu[1])])  # fmt: skip
    return groups


def cycle_bars(table):
    """One on another, from below."""
    groups = []
    for row in table:
        group, top = [], 0
        for count in row[3:]:
            group.append((top, top + count))
            top += count
        groups.append(group)
    return groups


def bars(data):
    """The bars of every bar chart, by its id: for each category (bottom, top) of each, from left to right or from below."""
    return {
        "fig4a": lambda: share_bars(data),
        "fig4b": lambda: strategy_bars(data),
        "fig4b-index": lambda: index_bars(data),
        "fig5b": lambda: histogram_bars(data),
        "fig6b": lambda: [[(0, row[3])] for row in hottest(data)[0]],
        "table1": lambda: speed_bars(data),
        "ladder": lambda: [[(0, row[4])] for row in ladder(data)[0]],
        "cycles": lambda: cycle_bars(cycles(data)[0]),
        "cycles-base": lambda: cycle_bars(cycles(data)[1]),
    }
