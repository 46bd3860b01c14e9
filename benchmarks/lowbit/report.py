"""Tables and plots of the low-precision benchmark, from its results alone.

    python benchmarks/lowbit/report.py [results/lowbit_tier1.json]

Writes the plots beside the results.
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


def main():
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "lowbit_tier1.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    plot_curves(document, path.with_name(f"{path.stem}_curves.png"))
    plot_sweeps(document, path.with_name(f"{path.stem}_sweeps.png"))
    print(tables(document))


def accuracies(results) -> dict:
    """{(group, precision, method): accuracies of all seeds} of the runs that ended."""
    table = {}
    for key, entry in results.items():
        if "accuracy" in entry:
            table.setdefault(tuple(key.split("/")[:3]), []).append(entry["accuracy"])
    return table


def spread(values) -> str:
    """Mean and, of several, standard deviation, in percent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def tables(document) -> str:
    """All results as Markdown."""
    table = accuracies(document["results"])
    parts = [_comparison(table), _mobilenet(table), _ablations(table), _rates(table)]
    return "\n".join(part for part in parts if part)


def _comparison(table):
    of = {key[1:]: values for key, values in table.items() if key[0] == "comparison"}
    if ("float", "float") not in of:
        return ""
    base = statistics.mean(of["float", "float"])
    methods = [method for method in COLOURS if method != "float"]
    rows = [("test accuracy, %", *methods, "best share of float")]
    for precision in dict.fromkeys(key[0] for key in of if key[0] != "float"):
        found = [of.get((precision, method)) for method in methods]
        best = max(statistics.mean(values) for values in found if values)
        cells = [spread(values) if values else "" for values in found]
        rows.append((precision, *cells, f"{best / base:.3f}"))
    seeds = len(of["float", "float"])
    return (
        f"Small residual network, float {spread(of['float', 'float'])} %, {seeds} seed(s):\n\n"
        + markdown(rows)
    )


def _mobilenet(table):
    of = {key[1:]: values for key, values in table.items() if key[0] == "mobilenet"}
    if not of:
        return ""
    rows = [("test accuracy, %", "ste", "lsq", "denoise")]
    for precision in dict.fromkeys(key[0] for key in of if key[0] != "float"):
        found = [of.get((precision, method)) for method in rows[0][1:]]
        rows.append((precision, *[spread(values) if values else "" for values in found]))
    base = of.get(("float", "float"))
    return f"Small MobileNetV2, float {spread(base) if base else '?'} %, one seed:\n\n" + markdown(
        rows
    )


def _ablations(table):
    of = {key[1:]: values[0] for key, values in table.items() if key[0] == "ablation"}
    if not of:
        return ""
    precisions = sorted({precision for precision, _ in of})
    rows = [("change to the default (denoise), one seed", *precisions)]
    default = [
        table.get(("comparison", precision, "denoise affine"), [None])[0]
        for precision in precisions
    ]
    rows.append(("affine weights", *[_cell(value) for value in default]))
    for name in dict.fromkeys(name for _, name in of):
        rows.append((name, *[_cell(of.get((precision, name))) for precision in precisions]))
    return "Ablations:\n\n" + markdown(rows)


def _rates(table):
    of = {key[1:]: values[0] for key, values in table.items() if key[0] == "rate"}
    if not of:
        return ""
    methods = sorted({method for _, method in of})
    rows = [("learning rate at W2A2, one seed", *methods)]
    for factor in sorted({factor for factor, _ in of} | {"1"}, key=float):
        cells = [
            of.get((factor, method))
            if factor != "1"
            else table.get(("comparison", "w2a2", method), [None])[0]
            for method in methods
        ]
        rows.append((f"× {factor}", *[_cell(value) for value in cells]))
    return "Sensitivity to the learning rate:\n\n" + markdown(rows)


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
        if group == "comparison" and "losses" in entry:
            runs.setdefault(precision, {}).setdefault(method, []).append(entry["losses"])
    precisions = [precision for precision in runs if precision != "float"]
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
    precisions = list(
        dict.fromkeys(k[1] for k in table if k[0] == "comparison" and k[1] != "float")
    )
    for offset, method in enumerate(methods):
        for place, precision in enumerate(precisions):
            values = table.get(("comparison", precision, method))
            if values:
                x = [place + (offset - 2) * 0.13] * len(values)
                label = method if (method, "labelled") not in handled(by_method) else None
                by_method.scatter(
                    x, [100 * v for v in values], color=COLOURS[method], s=22, label=label
                )
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


def handled(axis):
    """Which methods a plot's legend has."""
    return {(label, "labelled") for label in axis.get_legend_handles_labels()[1]}


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
