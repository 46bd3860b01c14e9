"""Draws an `Inspection`: what each operator has of the weights' bytes and of the multiply-adds."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mobilequant import drawing
from tflite_tools.inspection_report import Inspection
from tflite_tools.summaries import OperatorSummary
from tflite_tools.tables import shorten

#: Inches: width, height of a bar, and of what stands above and below the bars. So narrow that a
#: phone shows it without scrolling sideways.
_WIDTH, _BAR, _REST = 5.2, 0.15, 1.1

#: Of more operators than these the smallest are left out.
_MOST_BARS = 120

_LONGEST_LABEL = 28

#: Colours of the kinds that are most common in vision models; all others share the last one.
_COLOURS = {
    "CONV_2D": "C0",
    "DEPTHWISE_CONV_2D": "C1",
    "FULLY_CONNECTED": "C2",
    "TRANSPOSE_CONV": "C3",
    "BATCH_MATMUL": "C4",
}
_OTHER = "C7"


def draw(found: Inspection):
    """Draws what `inspect` found.

    Args:
        found: An `Inspection`.

    Returns:
        A `matplotlib.figure.Figure`: a line for each operator that has weights or multiply-adds,
        in the order of execution.

    Raises:
        ImportError: matplotlib is missing.
    """
    drawing.require_matplotlib()
    everything = [
        (f"{index}." if len(found.subgraphs) > 1 else "", op)
        for index, subgraph in enumerate(found.subgraphs)
        for op in subgraph.operators
    ]
    with_cost = [(prefix, op) for prefix, op in everything if op.weight_bytes or op.multiply_adds]
    rows = _largest(with_cost, found)
    figure = drawing.figure(figsize=(_WIDTH, _REST + _BAR * max(len(rows), 4)))
    weights, products = figure.subplots(1, 2, sharey=True)
    operators = [op for _, op in rows]
    _bars(weights, operators, [op.weight_bytes for op in operators], found.weight_bytes)
    _bars(products, operators, [op.multiply_adds or 0 for op in operators], found.multiply_adds)
    weights.set_title(f"weights, {_short(found.weight_bytes)}B", fontsize=8)
    products.set_title(f"multiply-adds, {_short(found.multiply_adds)}", fontsize=8)
    weights.set_yticks(range(len(rows)), _labels(rows), fontsize=6, parse_math=False)
    weights.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    name = shorten(found.path.rsplit("/", 1)[-1])
    note = _left_out(len(everything), len(with_cost), len(rows))
    figure.suptitle(f"{name}: share of each operator{note}", fontsize=8, parse_math=False)
    _legend(figure, operators)
    return figure


def _largest(rows, found: Inspection):
    """The rows of the largest operators, in their order."""

    def share(row):
        _, op = row
        of_weights = op.weight_bytes / max(found.weight_bytes, 1)
        return max(of_weights, (op.multiply_adds or 0) / max(found.multiply_adds, 1))

    if len(rows) <= _MOST_BARS:
        return rows
    smallest = sorted(range(len(rows)), key=lambda i: share(rows[i]))[:-_MOST_BARS]
    left_out = set(smallest)
    return [row for i, row in enumerate(rows) if i not in left_out]


def _bars(axis, operators: Sequence[OperatorSummary], values: Sequence[int], total: int) -> None:
    shares = [100 * value / max(total, 1) for value in values]
    largest = max(shares, default=0) or 1
    colours = [_COLOURS.get(op.name, _OTHER) for op in operators]
    axis.barh(range(len(shares)), shares, height=0.78, color=colours)
    for place, (share, value) in enumerate(zip(shares, values, strict=True)):
        if value:
            text = f"{share:.1f}" if share >= 0.05 else "<0.1"
            axis.text(share + 0.02 * largest, place, text, va="center", fontsize=5, color="0.35")
    axis.set_xlim(0, largest * 1.2)
    axis.set_xlabel("%", fontsize=7)
    axis.tick_params(axis="x", labelsize=6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _labels(rows) -> list[str]:
    """Names of the layers, without what all of them begin with, and the operators' numbers."""
    # Converters join the names of all layers that became one operator; the first one is its own.
    layers = [op.layer.split(";")[0].rstrip("/") or op.name for _, op in rows]
    folder = os.path.commonprefix(layers).rpartition("/")[0]
    layers = [layer.removeprefix(f"{folder}/") for layer in layers]
    return [
        f"{_beginning(layer)}  {prefix}{op.index}"
        for layer, (prefix, op) in zip(layers, rows, strict=True)
    ]


def _beginning(name: str) -> str:
    """The beginning of a name: of the names of converters, what differs between layers."""
    name = shorten(name, 10 * _LONGEST_LABEL)
    return name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"


def _left_out(operators: int, with_cost: int, shown: int) -> str:
    texts = []
    if operators - with_cost:
        texts.append(f"{operators - with_cost} that have neither")
    if with_cost - shown:
        texts.append(f"the {with_cost - shown} smallest")
    return f"\n(not shown: {' and '.join(texts)})" if texts else ""


def _legend(figure, operators: Sequence[OperatorSummary]) -> None:
    from matplotlib.patches import Patch

    kinds = {op.name for op in operators}
    handles = [Patch(color=c, label=name) for name, c in _COLOURS.items() if name in kinds]
    if kinds - set(_COLOURS):
        handles.append(Patch(color=_OTHER, label="others"))
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=6)


def _short(number: int) -> str:
    """1234567 as "1.23 M"."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number} "
