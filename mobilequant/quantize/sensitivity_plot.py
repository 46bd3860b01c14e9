"""Draws a `Sensitivity`: a bar for each layer, the worst on top."""

from __future__ import annotations

import math

from mobilequant import drawing

#: Inches: width, height of a bar, and of what stands above and below the bars. So narrow that a
#: phone shows it without scrolling sideways.
_WIDTH, _BAR, _REST = 5.2, 0.17, 1.15

#: Colours of layers with weights and without.
_COLOURS = {True: "C0", False: "C1"}


def draw(costs):
    """Draws what `sensitivity` found.

    Args:
        costs: A `Sensitivity`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing.
    """
    drawing.require_matplotlib()
    rows = costs.layers
    only = costs.mode == "only"
    figure = drawing.figure(figsize=(_WIDTH, _REST + _BAR * max(len(rows), 4)))
    axis = figure.subplots()
    whole = _root(costs.whole_error)
    values = [_root(row.error) for row in rows]
    # What a layer's return to float saves, where that is what was measured.
    lengths = values if only else [max(whole - value, 0.0) for value in values]
    axis.barh(
        range(len(rows)), lengths, height=0.78, color=[_COLOURS[bool(row.weights)] for row in rows]
    )
    largest = max(lengths, default=0.0) or 1.0
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        text = "exact" if math.isinf(row.snr) else f"{row.snr:.0f} dB"
        if not only:
            text = f"{row.snr - costs.whole_snr:+.1f} dB"
        axis.text(length + 0.01 * largest, place, text, va="center", fontsize=6, color="0.35")
    axis.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=7)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0, largest * 1.14)
    axis.tick_params(axis="x", labelsize=7)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel(_label(only, whole), fontsize=8)
    part = "" if costs.part == "all" else f", {costs.part} only"
    how = "quantized alone" if only else "left in float"
    figure.suptitle(f"{costs.model}: each layer {how}{part}", fontsize=9)
    _legend(axis, rows)
    return figure


def _label(only, whole):
    if only:
        return f"error of the outputs, % (everything quantized: {whole:.3g} %)"
    return f"error that goes, in points of the {whole:.3g} % with everything quantized"


def _legend(axis, rows):
    from matplotlib.patches import Patch

    kinds = {bool(row.weights) for row in rows}
    names = {True: "layers with weights", False: "without"}
    if len(kinds) == 2:
        handles = [Patch(color=_COLOURS[kind], label=names[kind]) for kind in (True, False)]
        axis.legend(handles=handles, loc="lower right", fontsize=7)


def _root(error):
    """The error's amplitude against that of the outputs, in percent."""
    return 100.0 * math.sqrt(error) if math.isfinite(error) else 0.0
