"""Draws what a `QuantizationMonitor` saw: lines for a few layers, a heat map for many."""

from __future__ import annotations

import math

import numpy as np

from mobilequant import drawing

#: Of each quantity: title, unit, factor to that unit, whether colours are spread by magnitude.
PANELS = {
    "error": ("Quantization error of weights", "‖ŵ − w‖ / ‖w‖, %", 100.0, True),
    "zeros": ("Weights that are zero", "%", 100.0, False),
    "flips": ("Integers that flip", "% a step", 100.0, True),
    "activation_error": ("Quantization error of activations", "‖x̂ − x‖ / ‖x‖, %", 100.0, True),
}

#: So many layers at most are drawn as lines, each with a colour of its own.
MOST_LINES = 8


def draw(history: dict):
    """Draws a history.

    Args:
        history: `QuantizationMonitor.history`.

    Returns:
        A `matplotlib.figure.Figure`, one panel for each quantity that was measured.

    Raises:
        ValueError: Nothing was measured yet.
        ImportError: matplotlib is missing.
    """
    drawing.require_matplotlib()
    steps = np.asarray(history["steps"], "float64")
    tables = {name: _table(history[name]) for name in PANELS if history[name]}
    if not len(steps) or not tables:
        raise ValueError("QuantizationMonitor: nothing was measured yet; run fit with it first.")
    names = {layer for layers, _ in tables.values() for layer in layers}
    if len(names) <= MOST_LINES and len(steps) > 1:
        return _lines(steps, tables)
    return _heat_maps(steps, tables)


def _table(lists: dict):
    """Names of the layers, and a table layers × looks with NaN for None."""
    rows = [[math.nan if value is None else value for value in row] for row in lists.values()]
    return list(lists), np.array(rows, "float64")


def _lines(steps, tables):
    from matplotlib.lines import Line2D

    figure = drawing.figure(figsize=(3.9 * len(tables) + 1.8, 3.4))
    axes = np.atleast_1d(figure.subplots(1, len(tables), sharex=True))
    colours = {}
    for axis, (quantity, (layers, table)) in zip(axes, tables.items(), strict=True):
        title, unit, factor, _ = PANELS[quantity]
        for layer, values in zip(layers, table * factor, strict=True):
            colour = colours.setdefault(layer, f"C{len(colours)}")
            axis.plot(steps, values, color=colour, marker="o", markersize=2.5, linewidth=1.2)
        _label_steps(axis, title)
        axis.set_ylabel(unit)
        axis.set_ylim(bottom=0, top=None if axis.get_ylim()[1] > 0 else 1)
        axis.grid(alpha=0.3)
    handles = [Line2D([], [], color=colour, label=layer) for layer, colour in colours.items()]
    figure.legend(handles=handles, loc="outside right center", fontsize=9, frameon=False)
    return figure


def _heat_maps(steps, tables):
    rows = max(len(layers) for layers, _ in tables.values())
    figure = drawing.figure(figsize=(4.4 * len(tables) + 1.6, max(3.2, 0.17 * rows + 1.3)))
    axes = np.atleast_1d(figure.subplots(1, len(tables)))
    former = None
    for axis, (quantity, (layers, table)) in zip(axes, tables.items(), strict=True):
        title, unit, factor, by_magnitude = PANELS[quantity]
        table = table * factor
        mesh = axis.pcolormesh(
            _edges(steps),
            np.arange(len(layers) + 1) - 0.5,
            np.ma.masked_invalid(table),
            norm=_norm(table, by_magnitude),
            cmap="viridis",
            rasterized=True,
        )
        axis.set_facecolor("0.85")
        _label_steps(axis, title, note="" if np.isfinite(table).all() else " (grey: no figure)")
        axis.invert_yaxis()
        # The names once, where the rows are the same ones as those on the left.
        axis.set_yticks(range(len(layers)), [] if layers == former else layers, fontsize=7)
        former = layers
        _colour_bar(figure, axis, mesh, unit, by_magnitude)
    return figure


def _label_steps(axis, title, note=""):
    from matplotlib.ticker import MaxNLocator

    axis.set_title(title, fontsize=11)
    axis.set_xlabel(f"training step{note}")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _colour_bar(figure, axis, mesh, unit, by_magnitude):
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    bar = figure.colorbar(mesh, ax=axis, label=unit, pad=0.02, aspect=40)
    if by_magnitude:
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _edges(steps):
    """Where the columns of the looks end: halfway between them."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[steps[0]], middle, [steps[-1]]])


def _norm(values, by_magnitude):
    """How figures become colours; at least half a decade where they are spread by magnitude."""
    from matplotlib.colors import LogNorm, Normalize

    known = values[np.isfinite(values)]
    largest = float(known.max()) if known.size and known.max() > 0 else 1.0
    if not by_magnitude:
        return Normalize(0.0, largest)
    positive = known[known > 0]
    smallest = float(positive.min()) if positive.size else largest / 10
    # What is 0 has no logarithm: it takes the colour of the smallest. Four decades are enough.
    return LogNorm(min(max(smallest, largest * 1e-4), largest / 3), largest, clip=True)
