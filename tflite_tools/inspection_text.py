"""An `Inspection` as text: an overview, and tables of all operators and tensors."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tflite_tools.summaries import OperatorSummary, SubgraphSummary
from tflite_tools.tables import shorten, table

if TYPE_CHECKING:
    from tflite_tools.inspection_report import Inspection


def overview(found: Inspection) -> str:
    """What a person wants to know first."""
    facts = [
        ("tensors", ", ".join(f"{n} {t}" for t, n in found.tensors.most_common())),
        ("float tensors", str(len(found.float_tensors) or "none")),
        ("parameters", f"{found.parameters:,} in {found.weight_bytes:,} bytes"),
        ("multiply-adds", _multiply_adds_text(found)),
        *(("activations", text) for text in _memory_texts(found)),
        ("signatures", ", ".join(map(str, found.signatures)) or "none"),
        ("metadata", _metadata_text(found)),
        ("minimum runtime", _runtime_text(found)),
    ]
    if found.custom_bytes:
        facts.insert(3, ("custom data", f"{found.custom_bytes:,} bytes"))
    about = shorten(found.description) or "no description"
    return "\n".join(
        [
            f"{found.path}: {found.size:,} bytes ({about})",
            *(f"input   {tensor}" for tensor in found.inputs),
            *(f"output  {tensor}" for tensor in found.outputs),
            "",
            _kinds(found),
            "",
            *(f"{name:<15} {text}" for name, text in facts),
        ]
    )


def operator_table(found: Inspection) -> str:
    """Every operator in a line, subgraph by subgraph."""
    return _by_subgraph(found, _operators)


def tensor_table(found: Inspection) -> str:
    """Every tensor in a line, subgraph by subgraph."""
    return _by_subgraph(found, _tensors)


def _by_subgraph(found: Inspection, text: Callable[[SubgraphSummary], str]) -> str:
    if len(found.subgraphs) == 1:
        return text(found.subgraphs[0])
    return "\n\n".join(
        f"{_title(index, subgraph)}\n{text(subgraph)}"
        for index, subgraph in enumerate(found.subgraphs)
    )


def _title(index: int, subgraph: SubgraphSummary) -> str:
    return f"subgraph {index} {shorten(subgraph.name)}".rstrip()


def _kinds(found: Inspection) -> str:
    alike = collections.defaultdict(list)
    for subgraph in found.subgraphs:
        for op in subgraph.operators:
            alike[op.name, op.version].append(op)
    rows = [
        (
            shorten(name),
            str(version),
            str(len(operators)),
            f"{sum(op.weight_bytes for op in operators):,}",
            _multiply_adds(operators),
        )
        for (name, version), operators in sorted(alike.items())
    ]
    return table(("operator", "version", "count", "weight bytes", "multiply-adds"), rows)


def _operators(subgraph: SubgraphSummary) -> str:
    rows = [
        (
            str(op.index),
            f"{shorten(op.name)} {op.version}",
            _indices(op.inputs),
            _indices(op.outputs),
            f"{op.weight_bytes:,}",
            _multiply_adds([op]),
            shorten(op.layer),
        )
        for op in subgraph.operators
    ]
    header = ("#", "operator", "inputs", "outputs", "weight bytes", "multiply-adds", "layer")
    return table(header, rows, left=("operator", "inputs", "outputs", "layer"))


def _tensors(subgraph: SubgraphSummary) -> str:
    rows = [
        (
            str(tensor.index),
            tensor.dtype,
            "×".join(map(str, tensor.shape)) or "scalar",
            f"{tensor.constant_bytes:,}" if tensor.constant_bytes else "",
            shorten(tensor.name),
            tensor.quantization,
        )
        for tensor in subgraph.tensors
    ]
    header = ("#", "type", "shape", "constant bytes", "name", "quantization")
    return table(header, rows, left=("type", "shape", "name", "quantization"))


def _indices(indices: tuple[int, ...], most: int = 8) -> str:
    shown = " ".join(map(str, indices[:most]))
    return f"{shown} … {len(indices)} in all" if len(indices) > most else shown


def _multiply_adds(operators: Iterable[OperatorSummary]) -> str:
    counts = [op.multiply_adds for op in operators]
    return "?" if None in counts else f"{sum(counts):,}"


def _multiply_adds_text(found: Inspection) -> str:
    text = f"{found.multiply_adds:,}"
    if found.uncounted:
        names = ", ".join(f"{n} {shorten(name)}" for name, n in found.uncounted.items())
        text += f", not counted: {names}"
    return text


def _memory_texts(found: Inspection) -> list[str]:
    several = len(found.subgraphs) > 1
    return [
        _memory_text(subgraph) + (f" ({_title(index, subgraph)})" if several else "")
        for index, subgraph in enumerate(found.subgraphs)
    ]


def _memory_text(subgraph: SubgraphSummary) -> str:
    memory = subgraph.memory
    text = "too many to plan" if memory.arena is None else f"{memory.arena:,} bytes"
    if memory.peak_operator is not None:
        op = subgraph.operators[memory.peak_operator]
        text += f", {memory.peak:,} alive at operator {op.index} {shorten(op.name)}"
    return f"{text}, besides {memory.persistent:,} kept" if memory.persistent else text


def _metadata_text(found: Inspection) -> str:
    entries = [f"{shorten(name)} ({size:,} bytes)" for name, size in found.metadata.items()]
    return ", ".join(entries) or "none"


def _runtime_text(found: Inspection) -> str:
    text = f"{found.minimum_runtime or 'unknown'} by the operators"
    if found.unknown_operators:
        names = ", ".join(f"{shorten(name)} {v}" for name, v in found.unknown_operators)
        text += f" ({names} in none)"
    return f"{text}; the file states {shorten(found.stated_runtime or 'none')}"
