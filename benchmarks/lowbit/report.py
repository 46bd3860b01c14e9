"""Tables, verdicts and plots of the low-precision benchmark, from its results alone.

    python benchmarks/lowbit/report.py [results/lowbit_tier1.json]

Writes the plots beside the results and prints the tables as Markdown.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"

COLOURS = {
    "float": "#444444",
    "ste linear": "#f4a582",
    "ste affine": "#ca0020",
    "lsq": "#7b3294",
    "denoise linear": "#92c5de",
    "denoise affine": "#0571b0",
}


#: Precisions as tables and plots list them.
ORDER = ("w8a8", "w4a8", "ternary-a8", "w4a4", "w2a2", "w1a1", "w1a4", "w1a4-2:4")


def main():
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "lowbit_tier1.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    plot_curves(document, path.with_name(f"{path.stem}_curves.png"))
    plot_sweeps(document, path.with_name(f"{path.stem}_sweeps.png"))
    print(tables(document))


def accuracies(results) -> dict:
    """{(group, precision, method): accuracies of all seeds}."""
    table = {}
    for key, entry in results.items():
        table.setdefault(tuple(key.split("/")[:3]), []).append(entry["accuracy"])
    return table


def ordered(precisions) -> list[str]:
    """Each precision once, without float, in `ORDER`."""
    return sorted(set(precisions) - {"float"}, key=ORDER.index)


def spread(values) -> str:
    """Mean and, of several, standard deviation, in percent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def tables(document) -> str:
    """All results as Markdown."""
    table = accuracies(document["results"])
    parts = [comparison(table), verdicts(table), mobilenet(table), ablations(table), rates(table)]
    return "\n".join(part for part in parts if part)


def comparison(table) -> str:
    """Every precision by every method."""
    of = {key[1:]: values for key, values in table.items() if key[0] == "comparison"}
    if ("float", "float") not in of:
        return ""
    base = statistics.mean(of["float", "float"])
    methods = [method for method in COLOURS if method != "float"]
    rows = [("test accuracy, %", *methods, "best / float", "default / float")]
    for precision in ordered(key[0] for key in of):
        found = [of.get((precision, method)) for method in methods]
        best = max(statistics.mean(values) for values in found if values)
        cells = [spread(values) if values else "" for values in found]
        default = statistics.mean(of[precision, default_of(precision)])
        rows.append((precision, *cells, f"{best / base:.3f}", f"{default / base:.3f}"))
    return (
        f"Float {spread(of['float', 'float'])} %; mean ± standard deviation of "
        f"{len(of['float', 'float'])} seed(s), of one where there is no ±:\n\n" + markdown(rows)
    )


def default_of(precision) -> str:
    """The method that the named recipe of a precision is."""
    return "denoise affine" if precision in ("w1a1", "w1a4") else "denoise linear"


def verdicts(table) -> str:
    """The paper's claims and the issue's targets, each with its figures."""

    def of(precision, method, group="comparison"):
        return table.get((group, precision, method))

    rows = [("claim", "figures (difference in points ± its standard error)", "verdict")]

    def compare(claim, better, worse):
        if better and worse:
            rows.append((claim, *difference(better, worse)))

    for grid in ("linear", "affine"):
        compare(
            f"W1A1, {grid} weights: denoise trains better than ste",
            of("w1a1", f"denoise {grid}"),
            of("w1a1", f"ste {grid}"),
        )
    compare(
        "the same from random weights (learned ranges)",
        of("w1a1", "denoise affine", "scratch"),
        of("w1a1", "ste affine", "scratch"),
    )
    compare(
        "the same, ranges of fixed width",
        of("w1a1", "denoise affine, fixed width", "scratch"),
        of("w1a1", "ste affine, fixed width", "scratch"),
    )
    for precision in ("w4a4", "w2a2", "w1a4", "w1a4-2:4"):
        compare(
            f"{precision.upper()}: denoise at least as good as ste (linear)",
            of(precision, "denoise linear"),
            of(precision, "ste linear"),
        )
    for precision in ("w4a4", "w2a2", "w1a1", "w1a4"):
        compare(
            f"{precision.upper()}: affine weights better than linear (denoise)",
            of(precision, "denoise affine"),
            of(precision, "denoise linear"),
        )
    for precision in ("w4a4", "w2a2"):
        compare(
            f"{precision.upper()}: the default no worse than lsq",
            of(precision, default_of(precision)),
            of(precision, "lsq"),
        )
    compare(
        "W1A4 with 2:4 no worse than W1A4 (denoise, linear)",
        of("w1a4-2:4", "denoise linear"),
        of("w1a4", "denoise linear"),
    )
    return "What the paper claims, and what came out:\n\n" + markdown(rows)


def difference(better, worse) -> tuple[str, str]:
    """Figures and verdict of a claim that one is (at least) as good as the other."""
    points = 100 * (statistics.mean(better) - statistics.mean(worse))
    figures = f"{spread(better)} against {spread(worse)}: {points:+.1f}"
    if min(len(better), len(worse)) < 2:
        return figures, "one seed: no verdict"
    error = 100 * sum(statistics.variance(v) / len(v) for v in (better, worse)) ** 0.5
    figures += f" ± {error:.1f}"
    if abs(points) <= 2 * error:
        return figures, "no difference found"
    return figures, "yes" if points > 0 else "no"


def mobilenet(table) -> str:
    """The small MobileNetV2."""
    of = {key[1:]: values for key, values in table.items() if key[0] == "mobilenet"}
    base = of.get(("float", "float"))
    if not base:
        return ""
    rows = [("test accuracy, %", "ste", "lsq", "denoise", "denoise − float, points")]
    for precision in ordered(key[0] for key in of):
        found = [of.get((precision, method)) for method in rows[0][1:4]]
        ours = found[-1]
        behind = f"{100 * (ours[0] - base[0]):+.1f}" if ours else ""
        rows.append((precision, *[spread(v) if v else "" for v in found], behind))
    return f"Small MobileNetV2 (0.35), float {spread(base)} %, one seed:\n\n" + markdown(rows)


def ablations(table) -> str:
    """Changes to ranges of fixed width with only the ends at 8 bits, one at a time."""
    of = {key[1:]: values[0] for key, values in table.items() if key[0] == "ablation"}
    if not of:
        return ""
    precisions = sorted({precision for precision, _ in of})
    heads = {"w4a4": "w4a4, MobileNet"}
    rows = [
        ("change, one seed, test accuracy in %", *[heads.get(p, p) for p in precisions]),
    ]
    for name in sorted({name for _, name in of}, key=lambda name: (name != "none", name)):
        rows.append((name, *[_cell(of.get((precision, name))) for precision in precisions]))
    return (
        "What decides besides the estimator, as changes to ranges of fixed width (`std`), "
        "unclipped, with first and last layer at 8 bits:\n\n" + markdown(rows)
    )


def rates(table) -> str:
    """Accuracy over the learning rate and over λ."""
    parts = []
    for group, precision, default, head in (
        ("rate", "w2a2", "1", "factor on the learning rate, W2A2"),
        ("ridge", "w1a1", "0.01", "λ, W1A1"),
    ):
        of = {key[1:]: values[0] for key, values in table.items() if key[0] == group}
        if not of:
            continue
        methods = sorted({method for _, method in of})
        rows = [(f"{head}; one seed, test accuracy in %", *methods)]
        for value in sorted({value for value, _ in of} | {default}, key=float):
            cells = [
                of.get((value, method))
                if value != default
                else table.get(("comparison", precision, method), [None])[0]
                for method in methods
            ]
            rows.append((value, *[_cell(cell) for cell in cells]))
        parts.append(markdown(rows))
    return "\n".join(parts)


def _cell(value):
    return "" if value is None else f"{100 * value:.1f}"


def plot_curves(document, path):
    """Training loss of every method at every precision, mean of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = {}
    for key, entry in document["results"].items():
        group, precision, method, _ = key.split("/")
        if group == "comparison":
            runs.setdefault(precision, {}).setdefault(method, []).append(entry["losses"])
    precisions = ordered(runs)
    if not precisions:
        return
    figure, axes = pyplot.subplots(
        1, len(precisions), figsize=(3.4 * len(precisions), 3.6), sharey=True, squeeze=False
    )
    for axis, precision in zip(axes[0], precisions, strict=True):
        for method, curves in {**runs.get("float", {}), **runs[precision]}.items():
            length = min(len(curve) for curve in curves)
            mean = [statistics.mean(curve[i] for curve in curves) for i in range(length)]
            share = [100 * (i + 1) / length for i in range(length)]
            axis.plot(share, mean, label=method, color=COLOURS[method], linewidth=1.4)
        axis.set_title(precision.upper())
        axis.set_xlabel("share of training, %")
        axis.grid(alpha=0.25)
    axes[0][0].set_ylabel("training loss (mean of the seeds)")
    handles = {}
    for axis in axes[0]:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="upper center", ncol=6, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    figure.savefig(path, dpi=110)


def plot_sweeps(document, path):
    """Accuracy by method, over λ, and over the learning rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    table = accuracies(document["results"])
    figure, (by_method, by_ridge, by_rate) = pyplot.subplots(1, 3, figsize=(15, 4.2))
    methods = [method for method in COLOURS if method != "float"]
    precisions = ordered(key[1] for key in table if key[0] == "comparison")
    for offset, method in enumerate(methods):
        points = [
            (place + (offset - 2) * 0.13, 100 * value)
            for place, precision in enumerate(precisions)
            for value in table.get(("comparison", precision, method), [])
        ]
        if points:
            by_method.scatter(*zip(*points, strict=True), color=COLOURS[method], s=22, label=method)
    base = table.get(("comparison", "float", "float"))
    if base:
        by_method.axhline(100 * statistics.mean(base), color=COLOURS["float"], linewidth=1)
        by_method.text(0, 100 * statistics.mean(base), "float", va="bottom")
    by_method.set_xticks(range(len(precisions)), [p.upper() for p in precisions])
    by_method.set_ylabel("test accuracy, % (each seed a dot)")
    by_method.legend(frameon=False, fontsize=8)
    _sweep(by_ridge, table, "ridge", "w1a1", "0.01", "λ at W1A1", symlog=True)
    _sweep(by_rate, table, "rate", "w2a2", "1", "factor on the learning rate at W2A2")
    for axis in (by_method, by_ridge, by_rate):
        axis.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _sweep(axis, table, group, precision, default, label, symlog=False):
    curves = {}
    for (name, value, method), values in table.items():
        if name == group:
            curves.setdefault(method, {})[float(value)] = 100 * values[0]
    for method, points in curves.items():
        at_default = table.get(("comparison", precision, method))
        if at_default:
            points[float(default)] = 100 * at_default[0]
        xs = sorted(points)
        axis.plot(xs, [points[x] for x in xs], "o-", label=method, color=COLOURS[method])
    axis.set_xscale(
        *(("symlog",) if symlog else ("log",)), **({"linthresh": 1e-4} if symlog else {})
    )
    axis.set_xlabel(label)
    axis.set_ylabel("test accuracy, % (one seed)")
    if curves:
        axis.legend(frameon=False, fontsize=8)


def markdown(rows) -> str:
    """A table whose first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
