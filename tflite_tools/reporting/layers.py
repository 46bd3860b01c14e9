"""What the page says operator by operator: one line joins all that is known of each."""

from __future__ import annotations

import collections
import dataclasses
import math

from tflite_tools.agreement import Agreement
from tflite_tools.figures import share, short
from tflite_tools.reporting.charts import Bar, Chart
from tflite_tools.reporting.tables import Cell, Column, Table, number, word

#: Of the names of layers: other converters join those of all layers that became one operator.
_LETTERS = 48


@dataclasses.dataclass(frozen=True)
class Line:
    """What is known of one operator, from each of the tools.

    Attributes:
        operator: Of `Inspection`.
        shape: Of its first output.
        decision: Of the plan for the Edge TPU.
        figures: Of the comparison with Keras; None where the tensor was not compared.
        cost: What quantizing its layer alone costs; None where that was not measured.
    """

    operator: object
    shape: tuple[int, ...]
    decision: object
    figures: object | None
    cost: object | None

    @property
    def name(self) -> str:
        """Of its layer, for people."""
        return short(self.operator.layer, _LETTERS)

    @property
    def error(self) -> float | None:
        """Of the outputs with only this layer quantized, root mean square, 0.01 for 1 %."""
        return None if self.cost is None else math.sqrt(self.cost.error)


def lines_of(page) -> list[Line]:
    """All operators of a `ReportPage`, subgraph by subgraph."""
    graphs = page.inspection.subgraphs
    compared = (page.agreement.layers or ()) if page.agreement else ()
    figures = {each.name: each for each in compared}
    costs = {cost.name: cost for cost in page.sensitivity.layers} if page.sensitivity else {}
    pairs = [(graph, op) for graph in graphs for op in graph.operators]
    return [
        Line(
            operator=op,
            shape=graph.tensors[op.outputs[0]].shape if op.outputs else (),
            decision=decision,
            figures=figures.get(op.layer),
            cost=costs.get(op.layer),
        )
        for (graph, op), decision in zip(pairs, page.plan.decisions, strict=True)
    ]


def charts(lines: list[Line], sensitivity) -> list[Chart]:
    """Where the bytes are, and where the error comes from; `sensitivity` may be None."""
    kind_of = {line.operator.layer: line.operator.name for line in lines}
    bytes_ = [
        Bar(
            line.name,
            line.operator.weight_bytes,
            f"{line.operator.weight_bytes:,} B",
            line.operator.name,
        )
        for line in lines
    ]
    found = [
        Chart("bytes", "Bytes of weights", "Each column is an operator, first to last.", bytes_)
    ]
    if sensitivity is not None:
        place = {line.operator.layer: i for i, line in enumerate(lines)}
        costs = sorted(sensitivity.layers, key=lambda c: place.get(c.name, len(place)))
        errors = [
            Bar(
                short(cost.name, _LETTERS),
                math.sqrt(cost.error),
                _per_cent(math.sqrt(cost.error)),
                kind_of.get(cost.name, ""),
            )
            for cost in costs
        ]
        whole = _per_cent(math.sqrt(sensitivity.whole_error))
        explanation = (
            "How far the outputs move when this layer alone is quantized, in per cent of their "
            f"size, on {sensitivity.images} images; with everything quantized {whole}."
        )
        found.append(Chart("error", "Error by layer", explanation, errors))
    return found


def kinds(lines: list[Line]) -> Table:
    """One row for each operator and version."""
    alike = collections.defaultdict(list)
    for line in lines:
        alike[line.operator.name, line.operator.version].append(line)
    rows = []
    for (name, version), members in sorted(alike.items()):
        mapped = sum(line.decision.mapped for line in members)
        tone = "good" if mapped == len(members) else "muted"
        rows.append(
            [
                word(name),
                number(version),
                number(len(members)),
                number(sum(line.operator.weight_bytes for line in members) or None),
                _multiply_adds([line.operator.multiply_adds for line in members]),
                number(mapped / len(members), f"{mapped} of {len(members)}", tone),
            ]
        )
    columns = [
        Column("operator"),
        Column("version", numeric=True),
        Column("count", numeric=True),
        Column("weight bytes", numeric=True),
        Column("multiply-adds", numeric=True),
        Column("Edge TPU", numeric=True),
    ]
    return Table("kinds-table", "Operators by kind", columns, rows)


def operators(lines: list[Line], *, compared: bool, measured: bool) -> Table:
    """One row for each operator, in the order of execution.

    Args:
        lines: What is known of each.
        compared: Whether there are columns for the comparison with Keras.
        measured: Whether there are columns for what quantizing each layer costs.
    """
    columns = [
        Column("layer"),
        Column("#", numeric=True),
        Column("operator"),
        Column("output"),
        Column("weight bytes", numeric=True),
        Column("multiply-adds", numeric=True),
        Column("Edge TPU"),
    ]
    if compared:
        columns += [Column("equal to Keras", numeric=True), Column("integers used", numeric=True)]
    if measured:
        columns += [Column("weights"), Column("error alone", numeric=True)]
    rows = []
    for line in lines:
        op = line.operator
        row = [
            word(line.name),
            number(op.index),
            word(f"{op.name} {op.version}"),
            word("×".join(map(str, line.shape))),
            number(op.weight_bytes or None),
            _multiply_adds([op.multiply_adds]),
            _place(line.decision),
        ]
        if compared:
            row += _compared(line.figures)
        if measured:
            weights = line.cost.weights if line.cost else ""
            row += [word(weights.split(",")[0]), _error(line.error)]
        rows.append(row)
    return Table("operators-table", "In the order of execution", columns, rows)


def _place(decision) -> Cell:
    """Whether an Edge TPU runs it; most files are for other devices, so that it is no fault."""
    return word("yes", "good") if decision.mapped else word("no", "muted")


def _multiply_adds(counts) -> Cell:
    if None in counts:
        return Cell("?", None, "muted")
    return number(sum(counts) or None)


def _compared(figures) -> list[Cell]:
    if figures is None:
        return [number(None), number(None)]
    tone = "bad" if figures.breaks else "good"
    distinct = figures.distinct if isinstance(figures, Agreement) else None
    return [number(figures.equal, share(figures.equal), tone), number(distinct)]


def _error(error: float | None) -> Cell:
    if error is None:
        return number(None)
    return number(error, _per_cent(error))


def _per_cent(error: float) -> str:
    return f"{100 * error:.2f} %" if error < 0.1 else f"{100 * error:.0f} %"
