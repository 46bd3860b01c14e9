"""Draws a `Benchmark`: a bar for each file and runtime, with its spread."""

from __future__ import annotations

import os
from pathlib import Path

from mobilequant import drawing
from tflite_tools.figures import short

#: Inches: width, height of a bar, and of what stands above and below the bars. So narrow that a
#: phone shows it without scrolling sideways.
_WIDTH, _BAR, _REST = 5.2, 0.3, 1.2


def draw(benchmark, path: str | os.PathLike | None = None):
    """Draws the median (or mean) latency of each file, and how far it spreads.

    Args:
        benchmark: A `Benchmark`.
        path: File to write; by default nothing is written.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: The path cannot be written.
    """
    if path is not None:
        path = drawing.check_path(path)
    drawing.require_matplotlib()
    entries = benchmark.files
    runtimes = list(dict.fromkeys(entry.runtime for entry in entries))
    figure = drawing.figure(figsize=(_WIDTH, _REST + _BAR * max(len(entries), 2)))
    axis = figure.subplots()
    values = [entry.typical for entry in entries]
    spread = [
        [max(0.0, entry.typical - entry.low) for entry in entries],
        [max(0.0, entry.high - entry.typical) for entry in entries],
    ]
    colours = [f"C{runtimes.index(entry.runtime)}" for entry in entries]
    axis.barh(range(len(entries)), values, height=0.7, color=colours, alpha=0.75)
    axis.errorbar(values, range(len(entries)), xerr=spread, fmt="none", ecolor="0.25", capsize=3)
    furthest = max(max(entry.high, entry.typical) for entry in entries)
    for place, entry in enumerate(entries):
        end = max(entry.high, entry.typical) + 0.02 * furthest
        axis.text(end, place, f"{entry.typical:.3g}", va="center", fontsize=7, color="0.25")
    axis.set_yticks(range(len(entries)), _names(entries), fontsize=7)
    axis.set_ylim(len(entries) - 0.4, -0.6)
    axis.set_xlim(0, furthest * 1.15)
    axis.tick_params(axis="x", labelsize=7)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    around = "10 to 90 % of the runs" if benchmark.statistic == "median" else "standard deviation"
    axis.set_xlabel(f"{benchmark.statistic} of one inference, ms; bars: {around}", fontsize=8)
    threads = f"{benchmark.threads} thread{'s' if benchmark.threads > 1 else ''}"
    runtime = f", {runtimes[0]}" if len(runtimes) == 1 else ""
    figure.suptitle(f"{benchmark.device}, {threads}{runtime}", fontsize=9)
    if len(runtimes) > 1:
        _legend(figure, runtimes)
    if path is not None:
        drawing.save(figure, path)
    return figure


def _names(entries) -> list[str]:
    """File names; whole paths where two files have one name."""
    names = {entry.path: Path(entry.path).name for entry in entries}
    if len(set(names.values())) < len(names):
        names = {path: path for path in names}
    return [short(names[entry.path], 34) for entry in entries]


def _legend(figure, runtimes) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=f"C{i}", alpha=0.75, label=name) for i, name in enumerate(runtimes)]
    figure.legend(handles=handles, loc="outside lower right", ncols=2, fontsize=7, frameon=False)
