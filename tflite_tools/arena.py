"""Activation memory: when each tensor of a subgraph is alive, and how LiteRT packs them.

LiteRT keeps activations in one arena, placed before the first run: the largest first, each into
the smallest gap that is free as long as the tensor lives. That is done here with the sizes that
the file states, for the built-in kernels. Not counted: what kernels take for themselves, and
tensors whose size is only known while the model runs. XNNPACK packs the tensors between its
operators in an arena of its own, by the same method.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer

ALIGNMENT = 64  # of every tensor in the arena, in bytes

#: With more tensors packing takes minutes; files of language models have some ten thousand.
_MOST_TENSORS = 20_000

#: Operators that write their output over an input where nothing else reads it, and which inputs
#: may be that; found in LiteRT 2.3 by the addresses of the tensors.
_IN_PLACE = {
    "ADD": (0, 1),
    "DIV": (0, 1),
    "DYNAMIC_UPDATE_SLICE": (0,),
    "MUL": (0, 1),
    "SOFTMAX": (0,),
    "SUB": (0, 1),
}

#: Those that only look at the same values in another way: the output is the input.
_VIEWS = {"BITCAST": (0,), "EXPAND_DIMS": (0,), "RESHAPE": (0,), "SQUEEZE": (0,)}

#: What LiteRT computes once, from constants, and keeps.
_KEPT = ("DENSIFY", "DEQUANTIZE")

#: LiteRT shares no memory between tensors of so few bytes when their values differ.
_SCALAR = 4


@dataclasses.dataclass(frozen=True)
class ActivationMemory:
    """Memory for the activations of one subgraph, in bytes.

    Attributes:
        peak: The most that is alive at once: no arrangement needs less.
        peak_operator: Index of the operator at which that is; None where there is none.
        arena: What LiteRT's arrangement needs; None where there are too many tensors to tell.
        persistent: What is kept from one run to the next: states, and weights that are unpacked
            when the model is loaded.
    """

    peak: int
    peak_operator: int | None
    arena: int | None
    persistent: int


@dataclasses.dataclass(frozen=True)
class Block:
    """A piece of the arena.

    Attributes:
        tensor: Index of the tensor whose it is; others may share it.
        size: Bytes, at least 1.
        first: Index of the operator that writes it; 0 for inputs.
        last: Index of the last operator that reads it; for what is kept, the number of operators.
    """

    tensor: int
    size: int
    first: int
    last: int


def activation_memory(model: schema.ModelT, subgraph: schema.SubGraphT) -> ActivationMemory:
    """How much memory the activations of a subgraph take."""
    graph = _Graph(model, subgraph)
    blocks = list(graph.blocks())
    peak, operator = peak_of(blocks, len(graph.operators))
    arena = None
    if len(blocks) <= _MOST_TENSORS:
        offsets = place(blocks, len(graph.operators))
        arena = max((o + b.size for o, b in zip(offsets, blocks, strict=True)), default=0)
    return ActivationMemory(
        peak=peak,
        peak_operator=operator,
        arena=arena,
        persistent=sum(_align(graph.sizes[tensor]) for tensor in graph.persistent),
    )


def peak_of(blocks: Sequence[Block], operators: int) -> tuple[int, int | None]:
    """The largest sum of blocks alive during one operator, and the first such operator's index."""
    changes = [0] * (operators + 2)
    for block in blocks:
        changes[block.first] += block.size
        changes[block.last + 1] -= block.size
    alive, peak, where = 0, 0, None
    for index, change in enumerate(changes[:-1]):
        alive += change
        if alive > peak:
            peak, where = alive, min(index, operators - 1)
    return peak, where if operators else None


def place(blocks: Sequence[Block], operators: int) -> list[int]:
    """Offsets of blocks in the arena, as LiteRT chooses them.

    Args:
        blocks: Any.
        operators: How many there are: what lives so long is kept to the end.

    Returns:
        An offset for each block, a multiple of `ALIGNMENT`; no two blocks that are alive at the
        same time overlap.
    """

    def turn(index):
        block = blocks[index]
        # Inputs and what else is there from beginning to end, then by size.
        if block.first == 0 and block.last == operators:
            return 0, block.tensor, 0, 0
        return 1, -block.size, block.first, block.tensor

    # Of the blocks placed so far, in the order of their offsets.
    columns = np.zeros((4, len(blocks)), np.int64)
    offsets = [0] * len(blocks)
    for count, index in enumerate(sorted(range(len(blocks)), key=turn)):
        block = blocks[index]
        starts, ends, firsts, lasts = columns[:, :count]
        meets = (firsts <= block.last) & (lasts >= block.first)
        offset = _best_gap(starts[meets], ends[meets], block.size)
        at = int(np.searchsorted(starts, offset))
        columns[:, at + 1 : count + 1] = columns[:, at:count]
        columns[:, at] = offset, offset + block.size, block.first, block.last
        offsets[index] = offset
    return offsets


def _best_gap(starts: np.ndarray, ends: np.ndarray, size: int) -> int:
    """Offset of the smallest gap between placed blocks that holds `size`, else behind them all."""
    tops = np.maximum.accumulate(np.concatenate([[0], ends]))
    candidates = _align(tops)
    gaps = starts - candidates[:-1]
    fitting = np.flatnonzero(gaps >= size)
    if not fitting.size:
        return int(candidates[-1])
    best = fitting[gaps[fitting] == gaps[fitting].min()]
    # LiteRT compares a gap with the former one as it was before alignment: of equal gaps the
    # first that was aligned anyway stays, and without one the last.
    aligned = best[tops[best] == candidates[best]]
    return int(candidates[aligned[0] if aligned.size else best[-1]])


class _Graph:
    """A subgraph as the planner sees it.

    Attributes:
        operators: Those of the schema.
        sizes: Bytes of each tensor.
        persistent: Indices of the tensors that are kept from one run to the next.
    """

    def __init__(self, model: schema.ModelT, subgraph: schema.SubGraphT):
        tensors = _items(subgraph.tensors)
        self.operators = _items(subgraph.operators)
        self.sizes = [flatbuffer.tensor_bytes(tensor) for tensor in tensors]
        self._names = [flatbuffer.operator_name(model, op) for op in self.operators]
        self._inputs = [_present(op.inputs) for op in self.operators]
        self._outputs = [_present(op.outputs) for op in self.operators]
        self._ports = _present(subgraph.inputs), _present(subgraph.outputs)
        self._constants = {
            i for i, tensor in enumerate(tensors) if flatbuffer.constant_bytes(model, tensor)
        }
        variables = {i for i, tensor in enumerate(tensors) if tensor.isVariable}
        self.persistent = (variables | self._unpacked()) - self._constants

    def _unpacked(self) -> set[int]:
        return {
            tensor
            for name, inputs, outputs in zip(self._names, self._inputs, self._outputs, strict=True)
            if name in _KEPT and inputs and self._constants.issuperset(inputs)
            for tensor in outputs
        }

    def blocks(self) -> Iterator[Block]:
        """The blocks of the arena; a tensor that shares another one's has none."""
        shared = self._shared()
        graph_inputs, graph_outputs = self._ports
        first = dict.fromkeys(graph_inputs, 0)
        last: dict[int, int] = {}
        for index, (inputs, outputs) in enumerate(zip(self._inputs, self._outputs, strict=True)):
            for tensor in outputs:
                first.setdefault(tensor, index)
            for tensor in inputs:
                last[shared.get(tensor, tensor)] = index
        last |= dict.fromkeys([*graph_inputs, *graph_outputs], len(self.operators))
        for tensor, index in first.items():
            if self._in_arena(tensor) and tensor not in shared and self.sizes[tensor]:
                # What nobody reads is not freed.
                yield Block(
                    tensor, self.sizes[tensor], index, last.get(tensor, len(self.operators))
                )

    def _in_arena(self, tensor: int) -> bool:
        return tensor not in self._constants and tensor not in self.persistent

    def _shared(self) -> dict[int, int]:
        """For each tensor that takes another one's place, the first one in that place."""
        graph_inputs, graph_outputs = map(set, self._ports)
        readers = collections.Counter(tensor for inputs in self._inputs for tensor in inputs)
        readers.update(graph_outputs)
        shared: dict[int, int] = {}
        for name, op, outputs in zip(self._names, self.operators, self._outputs, strict=True):
            candidates = _VIEWS.get(name) or _IN_PLACE.get(name)
            output = outputs[0] if outputs else None
            if not candidates or output is None or output in graph_outputs:
                continue
            for position in candidates:
                tensor = int(op.inputs[position]) if position < len(_items(op.inputs)) else -1
                root = shared.get(tensor, tensor)
                alone = max(readers[tensor], readers[root]) <= 1
                if (
                    tensor >= 0
                    and self._in_arena(tensor)
                    and tensor not in graph_inputs
                    and self.sizes[root] == self.sizes[output]
                    and (name in _VIEWS or (alone and self.sizes[output] > _SCALAR))
                ):
                    shared[output] = root
                    break
        return shared


def _align(size):
    return -(-size // ALIGNMENT) * ALIGNMENT


def _items(vector):
    return () if vector is None else vector


def _present(indices) -> list[int]:
    """Without the −1 that stands for an input left out."""
    return [int(i) for i in _items(indices) if i >= 0]
