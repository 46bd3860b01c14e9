"""What operators cost: multiply-adds, and which weights each of them reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer

#: Integer types of shapes, axes and indices; unquantized, they are no parameters.
_STRUCTURAL = (schema.TensorType.INT32, schema.TensorType.INT64)

#: Operators that only unpack a constant; what they give counts with the operator that reads it.
_UNPACKING = ("DENSIFY", "DEQUANTIZE")


def multiply_adds(model: schema.ModelT, subgraph: schema.SubGraphT) -> list[int | None]:
    """Multiplications of values with weights or with other values, each with its addition.

    Matrix products and convolutions are counted, padding included; sums, functions of single
    values, pooling and biases count 0. An operator that runs another subgraph counts 0 as well:
    the operators there are counted once each, however often they run.

    Returns:
        One number for each operator; None where nobody can tell: it is custom, or does not have
        the tensors that its kind takes.
    """
    tensors = subgraph.tensors or ()
    constants = _sources(model, subgraph).keys()
    counts: list[int | None] = []
    for op in subgraph.operators or ():
        name = flatbuffer.operator_name(model, op)
        count = _COUNTS.get(name)
        if flatbuffer.is_custom(model, op) or name.startswith("STABLEHLO_"):
            counts.append(None)
        elif count is None:
            counts.append(0)
        else:
            counts.append(_counted(count, _Operands(op, tensors, constants)))
    return counts


def weights(model: schema.ModelT) -> list[list[list[schema.TensorT]]]:
    """The weights and biases that each operator reads; each counts once, where it is read first.

    Returns:
        For each subgraph and each of its operators the constants that are parameters: all but
        shapes, axes and indices. Those that another operator unpacks first (a DEQUANTIZE, for
        example) are with the operator that reads the result.
    """
    seen: set[tuple[int, int]] = set()
    return [
        [_new_parameters(constants, seen) for constants in _constants_read(model, subgraph)]
        for subgraph in model.subgraphs
    ]


def all_weights(model: schema.ModelT) -> list[schema.TensorT]:
    """All constants that are parameters, also those that no operator reads; each counts once."""
    constants = [
        tensor
        for subgraph in model.subgraphs
        for tensor in subgraph.tensors or ()
        if flatbuffer.constant_bytes(model, tensor)
    ]
    return _new_parameters(constants, set())


def is_quantized(tensor: schema.TensorT) -> bool:
    """Whether a tensor has scales, one for all values or several."""
    scales = None if tensor.quantization is None else tensor.quantization.scale
    return scales is not None and len(scales) > 0


class _Operands:
    """The tensors of one operator as its count needs them."""

    def __init__(self, op: schema.OperatorT, tensors, constants: Collection[int]):
        self.options = op.builtinOptions
        self._inputs, self._outputs = _indices(op.inputs), _indices(op.outputs)
        self._tensors, self._constants = tensors, constants

    def input(self, position: int) -> list[int]:
        """Shape of an input."""
        if self._inputs[position] < 0:
            raise IndexError(position)
        return _shape(self._tensors[self._inputs[position]])

    def output(self) -> list[int]:
        """Shape of the first output."""
        return _shape(self._tensors[self._outputs[0]])

    def constant_matrices(self) -> Iterator[list[int]]:
        """Shapes of the constant inputs of two dimensions."""
        for index in self._inputs:
            if index in self._constants and len(shape := _shape(self._tensors[index])) == 2:
                yield shape


def _convolution(op: _Operands) -> int:
    _, *kernel = op.input(1)  # output channels, spatial sizes, input channels of a group
    return math.prod(op.output()) * math.prod(kernel)


def _depthwise(op: _Operands) -> int:
    _, height, width, _ = op.input(1)
    return math.prod(op.output()) * height * width


def _transposed_convolution(op: _Operands) -> int:
    channels, height, width, _ = op.input(1)
    return math.prod(op.input(2)) * height * width * channels


def _convolution_3d(op: _Operands) -> int:
    *kernel, _ = op.input(1)  # spatial sizes, input channels, output channels
    return math.prod(op.output()) * math.prod(kernel)


def _transposed_convolution_3d(op: _Operands) -> int:
    *kernel, _ = op.input(1)  # spatial sizes, output channels, input channels
    return math.prod(op.input(2)) * math.prod(kernel)


def _dense(op: _Operands) -> int:
    return math.prod(op.output()) * op.input(1)[-1]


def _batch_matmul(op: _Operands) -> int:
    transposed = op.options is not None and op.options.adjX
    return math.prod(op.output()) * op.input(0)[-2 if transposed else -1]


def _recurrent(op: _Operands) -> int:
    """Every weight matrix once for each step and each element of the batch."""
    *steps, _ = op.input(0)
    return math.prod(steps) * sum(map(math.prod, op.constant_matrices()))


_COUNTS: dict[str, Callable[[_Operands], int]] = {
    "BATCH_MATMUL": _batch_matmul,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "CONV_2D": _convolution,
    "CONV_3D": _convolution_3d,
    "CONV_3D_TRANSPOSE": _transposed_convolution_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "LSTM": _recurrent,
    "RNN": _recurrent,
    "SVDF": _recurrent,
    "TRANSPOSE_CONV": _transposed_convolution,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
}


def _counted(count: Callable[[_Operands], int], operands: _Operands) -> int | None:
    try:
        return count(operands)
    # Tensors are missing, have another number of dimensions, or the options are another kind's.
    except (IndexError, ValueError, AttributeError):
        return None


def _constants_read(model, subgraph) -> Iterator[list[schema.TensorT]]:
    """For each operator the constants that it reads, as they are or unpacked by another one."""
    sources = _sources(model, subgraph)
    for op in subgraph.operators or ():
        if _unpacks(model, op, sources):
            yield []
        else:
            found = [sources[i] for i in _indices(op.inputs) if i in sources]
            yield [subgraph.tensors[i] for i in found]


def _sources(model, subgraph) -> dict[int, int]:
    """For each constant itself, and for each tensor that is an unpacked constant that one."""
    tensors = subgraph.tensors or ()
    sources = {i: i for i, t in enumerate(tensors) if flatbuffer.constant_bytes(model, t)}
    for op in subgraph.operators or ():
        if _unpacks(model, op, sources):
            sources[_indices(op.outputs)[0]] = sources[_indices(op.inputs)[0]]
    return sources


def _unpacks(model, op: schema.OperatorT, sources: dict[int, int]) -> bool:
    inputs, outputs = _indices(op.inputs), _indices(op.outputs)
    return (
        flatbuffer.operator_name(model, op) in _UNPACKING
        and len(inputs) == len(outputs) == 1
        and inputs[0] in sources
    )


def _new_parameters(constants: Iterable[schema.TensorT], seen: set[tuple[int, int]]):
    """Those that are parameters and not yet in `seen`: equal ones may share a buffer."""
    found = []
    for tensor in constants:
        key = (tensor.buffer, tensor.externalBuffer)
        if key not in seen and (tensor.type not in _STRUCTURAL or is_quantized(tensor)):
            seen.add(key)
            found.append(tensor)
    return found


def _indices(vector) -> list[int]:
    return [] if vector is None else [int(i) for i in vector]


def _shape(tensor: schema.TensorT) -> Sequence[int]:
    return [] if tensor.shape is None else [abs(int(n)) for n in tensor.shape]
