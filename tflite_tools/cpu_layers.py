"""Which layers of a file stay on the CPU beside an accelerator, by the limits that it states."""

from __future__ import annotations

import dataclasses
import math

from mobilequant import targets
from mobilequant.integer.graph import FrozenGraph, Operator


@dataclasses.dataclass(frozen=True)
class CPULayer:
    """An operator that the accelerator does not take, though its kind and version are right.

    Attributes:
        name: The layer.
        kind: Its operator.
        reason: What is beyond the accelerator, for people.
        behind: How many operators stay on the CPU as well because they need its output: one run on
            the accelerator, from the input on, is all there is.
    """

    name: str
    kind: str
    reason: str
    behind: int = 0

    def __str__(self):
        text = f"{self.name!r}, {self.kind} {self.reason}"
        return text if not self.behind else f"{text}; with it {self.behind} operators behind it"


def cpu_layers(graph: FrozenGraph, target: targets.Target, batch_size: int = 1) -> list[CPULayer]:
    """The operators that are the first to stay on the CPU on their way from the input.

    Args:
        graph: The network.
        target: Its device.
        batch_size: Size of the fixed first dimension.
    """
    if not target.limits:
        return []
    found: list[CPULayer] = []
    causes: dict[str, int] = {}  # of tensors that are computed on the CPU, the place in `found`
    for op in graph.operators:
        places = [causes[tensor.name] for tensor in op.inputs if tensor.name in causes]
        reason = _reason(op, target, batch_size)
        if places:
            place = places[0]
            found[place] = dataclasses.replace(found[place], behind=found[place].behind + 1)
        elif reason:
            place = len(found)
            found.append(CPULayer(op.name, op.kind, reason))
        else:
            continue
        causes.update((tensor.name, place) for tensor in op.outputs)
    return found


def _reason(op: Operator, target: targets.Target, batch_size: int) -> str | None:
    limit = target.limits.get(op.kind, target.limits["default"])
    if limit is None:
        return "is not for the accelerator"
    for tensor in (*op.inputs, *op.outputs):
        shape = (batch_size, *tensor.shape)
        size = "×".join(map(str, shape))
        if any(n > 1 for n in shape[: -limit.dimensions]):
            return f"of {size}: dimensions before the last {limit.dimensions} must be 1"
        if limit.elements is not None and math.prod(shape) > limit.elements:
            return f"of {size}: at most {limit.elements} elements are known to be taken"
    return None
