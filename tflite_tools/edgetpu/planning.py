"""Which operators of a `.tflite` file the Edge TPU compiler maps, and what keeps the others off."""

from __future__ import annotations

import dataclasses
import os

from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.edgetpu import compiler, memory, rules
from tflite_tools.edgetpu.operations import Operand, Operation, operations
from tflite_tools.edgetpu.report import Decision, Plan

#: What may bring a float input to integers, on the CPU, before all that is mapped.
_CONVERSIONS = ("CAST", "QUANTIZE")


def plan(path: str | os.PathLike, *, compile: bool | None = None) -> Plan:
    """Says what will run on an Edge TPU before anything is compiled.

    The compiler maps one run of operators. It starts at the model's input, behind the CAST and
    QUANTIZE of a float one, and ends on every path before the first operator that cannot be
    mapped: what depends on that stays on the CPU, supported or not. A file that computes sizes
    while it runs it refuses.

    Args:
        path: Any TFLite file. A float one is told so, one that is compiled already as well.
        compile: Whether to run Edge TPU compiler on it, in a temporary folder, and to put its
            words beside the plan; by default where `edgetpu_compiler` is on the path.

    Raises:
        InvalidModelError: There is no such file, it cannot be read, or it is no sound TFLite
            model.
        CompilerError: `compile=True`, and there is no `edgetpu_compiler`, or it did not end in
            time.
    """
    found = plan_model(flatbuffer.read(path), os.fspath(path))
    installed = compiler.find() is not None and not found.compiled
    if compile or (compile is None and installed):
        try:
            found.compilation = compiler.run(path)
        except compiler.CompilerError as error:
            if compile:
                raise
            found.compilation = compiler.read_log(str(error), succeeded=False)
    return found


def plan_model(model: schema.ModelT, path: str) -> Plan:
    """Plans for a model that `flatbuffer.parse` took; `path` is what the plan calls it."""
    main = operations(model)
    compiled = any(op.kind == rules.CUSTOM_OPERATOR for op in main)
    refused = [] if compiled else _refused(main)
    inputs = set(map(int, _some(model.subgraphs[0].inputs)))
    decisions = refused or _decide(main, inputs)
    for number in range(1, len(model.subgraphs)):
        reason = f"it is in subgraph {number}, which the compiler leaves alone"
        decisions += [
            dataclasses.replace(_decision(op, "subgraph", reason), subgraph=number)
            for op in operations(model, number)
        ]
    mapped = [op for op, decision in zip(main, decisions, strict=False) if decision.mapped]
    return Plan(
        path=path,
        decisions=decisions,
        quantized=any(operand.quantized for op in main for operand in op.activations),
        compiled=compiled,
        open_sizes=any(operand.open for op in main for operand in op.activations),
        segments=0 if refused else _segments(main),
        parameter_bytes=memory.parameter_bytes(mapped),
    )


def _refused(main: list[Operation]) -> list[Decision]:
    """Decisions on a file that the compiler refuses as a whole; none where it does not."""
    obstacles = {op.index: rules.dynamic(op) for op in main}
    first = next((op for op in main if obstacles[op.index] is not None), None)
    if first is None:
        return []
    reason = f"the compiler refuses the file for operator {first.index} ({first.kind})"
    return [
        _decision(op, "dynamic", found.reason, found.advice, None if op is first else first.index)
        if (found := obstacles[op.index]) is not None
        else _decision(op, "behind", reason, behind=first.index)
        for op in main
    ]


def _decide(main: list[Operation], inputs: set[int]) -> list[Decision]:
    decisions: list[Decision] = []
    # For each tensor that is there: the first operator on its way that stays on the CPU, or None.
    causes: dict[int, int | None] = dict.fromkeys(inputs)
    raw = set(inputs)  # the model's inputs, also converted
    for op in main:
        decision = _judge(op, main, causes)
        cause = decision.behind
        if not decision.mapped and _converts_inputs(op, raw):
            raw.update(x.index for x in op.outputs)
        elif not decision.mapped and cause is None:
            cause = op.index
        causes.update((x.index, cause) for x in op.outputs)
        decisions.append(decision)
    return decisions


def _judge(op: Operation, main: list[Operation], causes: dict[int, int | None]) -> Decision:
    needed = [x for x in op.inputs if x is not None and not (x.constant or x.variable)]
    missing = next((x for x in needed if x.index not in causes), None)
    blocking = [causes[x.index] for x in needed if causes.get(x.index) is not None]
    cause = min(blocking, default=None)
    obstacle = rules.obstacle(op)
    if op.kind == rules.CUSTOM_OPERATOR:
        return _decision(op)
    if missing is not None:
        reason = f"{missing.label} is computed by no operator before it"
        return _decision(op, "type", reason, "write the file anew: its order is broken", cause)
    if obstacle is not None:
        return _decision(op, obstacle.kind, obstacle.reason, obstacle.advice, cause)
    if cause is not None:
        reason = f"behind operator {cause} ({main[cause].kind}), which stays on the CPU"
        return _decision(op, "behind", reason, behind=cause)
    return _decision(op)


def _converts_inputs(op: Operation, raw: set[int]) -> bool:
    """Whether an operator only brings an input of the model, in float, to integers."""
    source: Operand | None = op.operand(0)
    return op.kind in _CONVERSIONS and source is not None and source.index in raw


def _decision(op: Operation, kind="mapped", reason="", advice="", behind=None) -> Decision:
    return Decision(
        index=op.index,
        operator=op.kind,
        custom=not op.builtin,
        version=op.version,
        name=op.name,
        kind=kind,
        reason=reason,
        advice=advice,
        behind=behind,
    )


def _segments(main: list[Operation]) -> int:
    """How many runs of operators the compiler finds where it may map several (its option `-a`).

    An operator that can be mapped begins a new run where what it needs went through the CPU since
    the last one.
    """
    runs: set[int] = set()
    level: dict[int, tuple[int, bool]] = {}  # of each tensor: the run before it, left again?
    for op in main:
        known = [level[x.index] for x in op.inputs if x is not None and x.index in level]
        if rules.obstacle(op) is None:
            run = max((n + left for n, left in known), default=0)
            runs.add(run)
            after = run, False
        else:
            run = max((n for n, _ in known), default=-1)
            after = run, True
        level.update((x.index, after) for x in op.outputs)
    return len(runs)


def _some(vector):
    return () if vector is None else vector
