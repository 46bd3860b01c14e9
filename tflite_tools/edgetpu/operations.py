"""The operators of a parsed file as the Edge TPU's rules look at them: types, shapes, constants."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.tables import shorten

_INTEGERS = {
    schema.TensorType.INT8: "i1",
    schema.TensorType.UINT8: "u1",
    schema.TensorType.INT32: "<i4",
    schema.TensorType.INT64: "<i8",
}


@dataclasses.dataclass(frozen=True)
class Operand:
    """A tensor that an operator takes or gives.

    Attributes:
        index: Its number in the subgraph.
        name: Its name in the file.
        dtype: As TFLite names it, for example "INT8".
        shape: With the batch; None where the file states none.
        fixed: Whether the file states the size of every dimension.
        open: Whether it says that some sizes only stand in for any.
        scales: How many scales it has; 0 where it is not quantized.
        zero_point: The first; 0 where it has none.
        constant: Whether the file holds its values.
        variable: Whether it is a state that lives from one inference to the next.
        values: Its constant values where they are int32, int64, int8 or uint8, one after the
            other; None for all else.
        bytes: What its constant takes in the file.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...] | None
    fixed: bool
    open: bool = False
    scales: int = 0
    zero_point: int = 0
    constant: bool = False
    variable: bool = False
    values: np.ndarray | None = None
    bytes: int = 0

    @property
    def label(self) -> str:
        """Its name for people."""
        return label(self.name)

    @property
    def quantized(self) -> bool:
        """Whether it holds int8 or uint8 integers that stand for real values."""
        return self.dtype in ("INT8", "UINT8") and self.scales > 0


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operator of a file.

    Attributes:
        index: Its number in the subgraph.
        kind: TFLite's builtin name, or a custom operator's own (in one line, not too long).
        version: As the file states it.
        builtin: Whether TFLite defines it.
        inputs: What it takes; None for an optional operand that is left out.
        outputs: What it gives.
        options: The schema's options object; None where it has none.
    """

    index: int
    kind: str
    version: int
    builtin: bool
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]
    options: Any = None

    @property
    def name(self) -> str:
        """The name of what it gives: there are no others in a file."""
        return self.outputs[0].name if self.outputs else ""

    @property
    def activations(self) -> list[Operand]:
        """Everything but constants, states and what is left out."""
        inputs = [x for x in self.inputs if x is not None and not (x.constant or x.variable)]
        return [*inputs, *self.outputs]

    def operand(self, place: int) -> Operand | None:
        """The input at that place; None where there is none."""
        return self.inputs[place] if place < len(self.inputs) else None

    def option(self, name: str) -> Any:
        """An option's value; 0, as in the schema, where the file leaves it out."""
        return getattr(self.options, name, 0)


def operations(model: schema.ModelT, number: int = 0) -> list[Operation]:
    """The operators of a subgraph in the order in which they run.

    Args:
        model: A model that `flatbuffer.parse` took.
        number: Which subgraph.
    """
    subgraph = model.subgraphs[number]
    tensors = _some(subgraph.tensors)
    operands: dict[int, Operand] = {}

    def look_up(indices) -> tuple[Operand | None, ...]:
        found = []
        for index in map(int, _some(indices)):
            if index >= 0 and index not in operands:
                operands[index] = _operand(model, tensors[index], index)
            found.append(operands.get(index))
        return tuple(found)

    return [
        Operation(
            index=index,
            kind=shorten(flatbuffer.operator_name(model, op)),
            version=model.operatorCodes[op.opcodeIndex].version,
            builtin=flatbuffer.builtin_code(model.operatorCodes[op.opcodeIndex])
            != schema.BuiltinOperator.CUSTOM,
            inputs=look_up(op.inputs),
            outputs=look_up(op.outputs),
            options=op.builtinOptions,
        )
        for index, op in enumerate(_some(subgraph.operators))
    ]


def label(name: str) -> str:
    """A tensor's name for people; converters string those of fused operations together."""
    return repr(shorten(name.split(";")[0]))


def _operand(model: schema.ModelT, tensor: schema.TensorT, index: int) -> Operand:
    quantization = tensor.quantization
    scales = zero_points = ()
    if quantization is not None:
        scales, zero_points = _some(quantization.scale), _some(quantization.zeroPoint)
    shape = None if tensor.shape is None else tuple(map(int, tensor.shape))
    size = flatbuffer.constant_bytes(model, tensor)
    return Operand(
        index=index,
        name=flatbuffer.text(tensor.name),
        dtype=flatbuffer.TENSOR_TYPES[tensor.type],
        shape=shape,
        fixed=all(n > 0 for n in shape or ()),
        open=any(n < 0 for n in _some(tensor.shapeSignature)),
        scales=len(scales),
        zero_point=int(zero_points[0]) if len(zero_points) else 0,
        constant=size > 0,
        variable=bool(tensor.isVariable),
        values=_values(model, tensor) if size else None,
        bytes=size,
    )


def _values(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray | None:
    """Integers of a constant; a sparse one, or one in another file, is not read."""
    data = model.buffers[tensor.buffer].data
    if tensor.type not in _INTEGERS or tensor.sparsity is not None or tensor.externalBuffer:
        return None
    return np.asarray(data, np.uint8).view(_INTEGERS[tensor.type])


def _some(vector):
    return () if vector is None else vector
