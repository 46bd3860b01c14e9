"""Weights of 4 bits and less as INT4, two to a byte, in a model that holds them as int8.

Which kernel takes them decides what that costs (LiteRT 2.3, measured on x86-64). A fully connected
layer whose inputs are even in number stays with XNNPACK: the same integers, the same latency. So
does a convolution of 1×1 that is written as what it is, a fully connected layer at every pixel.
All other convolutions fall back to built-in kernels, several times slower, and these round twice
where XNNPACK rounds once, so that integers may lie a step off.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer, runtimes

#: Where weights are packed: where nothing is lost but bytes, or wherever LiteRT takes them.
WHERE = ("fast", "all")

#: INT4 reaches to −8, but what is symmetric does not.
LARGEST = 7

#: First version of each operator that takes INT4 weights; with a scale for each channel
#: FULLY_CONNECTED has another one.
_VERSIONS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10}
_DENSE_BY_CHANNEL = 12

#: Which dimension of their weights counts the channels that they give.
_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": -1, "FULLY_CONNECTED": 0}

#: Operators whose second input are weights.
_WEIGHTED = (*_VERSIONS, "TRANSPOSE_CONV")

#: XNNPACK sums 16 times the products of INT4 weights, and the bias with them, in 32 bits.
_LARGEST_SUM = (1 << 27) - 1

_SLOW = "LiteRT has a slower kernel alone for its INT4, which may differ by a step"
_TOO_LARGE = "with their bias, sums reach beyond the 28 bits that XNNPACK's kernel has for them"


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights that fit into 4 bits.

    Attributes:
        name: The tensor.
        operator: The operator that computes with them, as it was before packing.
        elements: How many there are.
        reason: Why they stay int8; None of those that were packed.
    """

    name: str
    operator: str
    elements: int
    reason: str | None = None


def pack_weights(model: schema.ModelT, where: str = "fast") -> list[Weights]:
    """Makes INT4 of the int8 weights within ±7 of a model, in place.

    Convolutions of 1×1 become FULLY_CONNECTED on the way. Tensors keep their names and scales, but
    for the scale of a channel that is nothing but zeros, which is free.

    Args:
        model: What `flatbuffer.parse` gave, with all constants inside of the flatbuffer.
        where: "fast" for weights that XNNPACK computes with all the same, "all" for every
            operator that takes INT4.

    Returns:
        All weights within ±7.

    Raises:
        ValueError: `where` is something else.
    """
    if where not in WHERE:
        raise ValueError(f"where must be one of {', '.join(WHERE)}; got {where!r}.")
    found = []
    for subgraph in model.subgraphs:
        for number, users in _users(model, subgraph).items():
            tensor = subgraph.tensors[number]
            if users and _fits(model, tensor):
                found.append(_pack_tensor(model, subgraph, number, users, where))
    _state_runtime(model)
    _drop_unused(model)
    return found


def count(model: schema.ModelT) -> int:
    """How many constants are INT4."""
    return sum(
        tensor.type == schema.TensorType.INT4 and flatbuffer.constant_bytes(model, tensor) > 0
        for subgraph in model.subgraphs
        for tensor in subgraph.tensors
    )


def describe(weights: list[Weights]) -> list[str]:
    """Lines for people: how much became INT4, and what did not."""
    if not weights:
        return ["INT4: no weights of 4 bits or less; a recipe such as 'w4a8' makes them"]
    packed = [w for w in weights if w.reason is None]
    elements = sum(w.elements for w in packed)
    lines = [
        f"INT4: {len(packed)} weight tensors, {elements:,} integers in {-(-elements // 2):,} bytes"
    ]
    left = collections.defaultdict(list)
    for w in weights:
        if w.reason is not None:
            left[w.operator, w.reason].append(w.elements)
    for (operator, reason), sizes in left.items():
        lines.append(f"left as INT8: {len(sizes)} {operator} ({sum(sizes):,} bytes): {reason}")
    return lines


def pack(integers: np.ndarray) -> np.ndarray:
    """Integers from −8 to 7 two to a byte, the first in the lower half; uint8."""
    halves = np.asarray(integers, np.int8).ravel().view(np.uint8) & 15
    if len(halves) % 2:
        halves = np.append(halves, np.uint8(0))
    return halves[0::2] | halves[1::2] << 4


def unpack(data: np.ndarray, count: int) -> np.ndarray:
    """What `pack` packed: `count` integers, int8."""
    data = np.asarray(data, np.uint8)
    halves = np.stack([data & 15, data >> 4], axis=-1).ravel()[:count]
    return (halves.astype(np.int8) ^ 8) - 8


def _users(model, subgraph) -> dict[int, list[schema.OperatorT]]:
    """Operators that take a tensor as their weights, by the tensor's number."""
    found = collections.defaultdict(list)
    for op in subgraph.operators or ():
        inputs = _numbers(op.inputs)
        if flatbuffer.operator_name(model, op) in _WEIGHTED and len(inputs) > 1:
            found[inputs[1]].append(op)
    found.pop(-1, None)
    return found


def _fits(model, tensor) -> bool:
    data = model.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.INT8 or tensor.sparsity is not None or data is None:
        return False
    integers = _integers(model, tensor)
    return len(integers) > 0 and integers.min() >= -LARGEST and integers.max() <= LARGEST


def _pack_tensor(model, subgraph, number: int, users, where: str) -> Weights:
    tensor = subgraph.tensors[number]
    kind = flatbuffer.operator_name(model, users[0])
    reason = _refusal(model, subgraph, number, users)
    dense = reason is None and all(_is_dense(model, subgraph, op) for op in users)
    if dense:
        _lift_dead_channels(model, subgraph, tensor, users)
        if not all(_sums_fit(model, subgraph, tensor, op) for op in users):
            reason = _TOO_LARGE
    if reason is None and not dense and where == "fast":
        reason = _SLOW
    if reason is None:
        for op in users:
            _prepare(model, op, tensor, dense)
        if dense:
            tensor.shape = np.array([tensor.shape[0], tensor.shape[-1]], np.int32)
        model.buffers.append(schema.BufferT(data=pack(_integers(model, tensor))))
        tensor.buffer, tensor.type = len(model.buffers) - 1, schema.TensorType.INT4
    return Weights(flatbuffer.text(tensor.name), kind, flatbuffer.elements(tensor), reason)


def _refusal(model, subgraph, number: int, users) -> str | None:
    """Why no kernel takes these weights as INT4, or None."""
    kinds = {flatbuffer.operator_name(model, op) for op in users}
    if not kinds <= set(_VERSIONS):
        return f"{min(kinds - set(_VERSIONS))} does not take INT4"
    uses = sum(_numbers(op.inputs).count(number) for op in subgraph.operators)
    ends = [*_numbers(subgraph.inputs), *_numbers(subgraph.outputs)]
    if uses > len(users) or number in ends:
        return "they are used as something else as well"
    quantization = subgraph.tensors[number].quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return "they have no scale"
    if quantization.zeroPoint is not None and np.any(quantization.zeroPoint):
        return "their zero point is not 0"
    for op in users:
        types = {subgraph.tensors[i].type for i in (op.inputs[0], *op.outputs)}
        if types != {schema.TensorType.INT8}:
            return "what they are multiplied with is not int8"
        if not _bias_fits(model, subgraph, op):
            return "their bias is not one int32 number for each channel"
    return None


def _bias_fits(model, subgraph, op) -> bool:
    inputs, axis = _numbers(op.inputs), _CHANNELS[flatbuffer.operator_name(model, op)]
    if len(inputs) < 3 or inputs[2] < 0:
        return True
    bias, shape = subgraph.tensors[inputs[2]], subgraph.tensors[inputs[1]].shape
    channels = shape[axis] if shape is not None and len(shape) else 1
    return bias.type == schema.TensorType.INT32 and flatbuffer.elements(bias) == channels


def _is_dense(model, subgraph, op) -> bool:
    """Whether an operator computes, at every pixel, a fully connected layer that XNNPACK takes."""
    image, weights = (subgraph.tensors[i].shape for i in op.inputs[:2])
    if weights is None or image is None or not len(image) or weights[-1] % 2:
        return False
    options = op.builtinOptions
    if flatbuffer.operator_name(model, op) == "FULLY_CONNECTED":
        return len(weights) == 2 and options is not None and not options.weightsFormat
    return (
        flatbuffer.operator_name(model, op) == "CONV_2D"
        and len(weights) == 4
        and tuple(weights[1:3]) == (1, 1)
        and weights[3] == image[-1]
        and options is not None
        and (options.strideH, options.strideW) == (1, 1)
    )


def _lift_dead_channels(model, subgraph, tensor, users) -> None:
    """Makes the bias of channels without weights smaller, and their scale larger by as much.

    What such a channel gives, bias × scale, stays the same number: both change by a power of two.
    """
    number, bias = _bias(model, subgraph, users[0])
    scales = np.array(tensor.quantization.scale, np.float32)
    if len(users) > 1 or bias is None or len(scales) != len(bias):
        return
    dead = ~_integers(model, tensor).reshape(len(bias), -1).any(axis=1)
    for channel in np.flatnonzero(dead & (np.abs(bias.astype(np.int64)) > _LARGEST_SUM)):
        while abs(int(bias[channel])) > _LARGEST_SUM and bias[channel] % 2 == 0:
            bias[channel] //= 2
            scales[channel] *= 2
    lifted = scales / tensor.quantization.scale
    if not np.any(lifted != 1):
        return
    tensor.quantization.scale = scales
    summand = subgraph.tensors[number]
    if summand.quantization is not None and summand.quantization.scale is not None:
        summand.quantization.scale = np.asarray(summand.quantization.scale, np.float32) * lifted
    model.buffers.append(schema.BufferT(data=bias.view(np.uint8)))
    summand.buffer = len(model.buffers) - 1


def _sums_fit(model, subgraph, tensor, op) -> bool:
    """Whether no sum can leave what XNNPACK's kernel has for it."""
    weights = _integers(model, tensor).astype(np.int64)
    sums = np.abs(weights.reshape(tensor.shape[0], -1)).sum(axis=1) * 255  # of x − zero point
    _, bias = _bias(model, subgraph, op)
    if bias is not None:
        sums = sums + np.abs(bias.astype(np.int64))
    return bool(sums.max() <= _LARGEST_SUM)


def _bias(model, subgraph, op) -> tuple[int, np.ndarray | None]:
    """The number of an operator's bias and a copy of its integers; None where it has none."""
    inputs = _numbers(op.inputs)
    if len(inputs) < 3 or inputs[2] < 0:
        return -1, None
    data = model.buffers[subgraph.tensors[inputs[2]].buffer].data
    if data is None or not len(data):
        return inputs[2], None
    return inputs[2], np.asarray(data, np.uint8).view("<i4").astype(np.int32)


def _integers(model, tensor) -> np.ndarray:
    return np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(np.int8)


def _prepare(model, op, tensor, dense: bool) -> None:
    """Gives an operator the kind and the version that take INT4 weights."""
    kind = flatbuffer.operator_name(model, op)
    if dense and kind == "CONV_2D":
        activation = op.builtinOptions.fusedActivationFunction
        op.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        op.builtinOptions = schema.FullyConnectedOptionsT(
            fusedActivationFunction=activation, keepNumDims=True
        )
        kind, former = "FULLY_CONNECTED", 1
    else:
        former = model.operatorCodes[op.opcodeIndex].version
    by_channel = kind == "FULLY_CONNECTED" and len(tensor.quantization.scale) > 1
    version = max(former, _DENSE_BY_CHANNEL if by_channel else _VERSIONS[kind])
    op.opcodeIndex = _code(model, kind, version)


def _code(model, kind: str, version: int) -> int:
    number = getattr(schema.BuiltinOperator, kind)
    for index, code in enumerate(model.operatorCodes):
        if (flatbuffer.builtin_code(code), code.version) == (number, version):
            return index
    model.operatorCodes.append(
        schema.OperatorCodeT(
            builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version
        )
    )
    return len(model.operatorCodes) - 1


def _drop_unused(model) -> None:
    """Takes out operator codes and buffers that nothing names any more."""
    operators = [op for subgraph in model.subgraphs for op in subgraph.operators or ()]
    codes = sorted({op.opcodeIndex for op in operators})
    model.operatorCodes = [model.operatorCodes[i] for i in codes]
    for op in operators:
        op.opcodeIndex = codes.index(op.opcodeIndex)
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors or ()]
    holders = [*tensors, *(model.metadata or ())]
    older = _numbers(model.metadataBuffer)
    # The first one is empty by convention.
    kept = sorted({0, *older, *(holder.buffer for holder in holders)})
    places = {old: new for new, old in enumerate(kept)}
    model.buffers = [model.buffers[i] for i in kept]
    for holder in holders:
        holder.buffer = places[holder.buffer]
    if older:
        model.metadataBuffer = np.array([places[i] for i in older], np.int32)


def _state_runtime(model) -> None:
    """Brings up to date what the metadata says of the first runtime, where it does."""
    stated = flatbuffer.minimum_runtime(model)
    if stated is None:
        return
    needed = []
    for op in (op for subgraph in model.subgraphs for op in subgraph.operators or ()):
        code = model.operatorCodes[op.opcodeIndex]
        needed.append(runtimes.first_release(flatbuffer.operator_name(model, op), code.version))
    try:
        newest = runtimes.newest([stated, *filter(None, needed)])
    except ValueError:
        return  # what it says is no release
    content = np.frombuffer(newest.encode().ljust(16, b"\0"), np.uint8)
    for entry in model.metadata:
        if flatbuffer.text(entry.name) == "min_runtime_version":
            model.buffers.append(schema.BufferT(data=content))
            entry.buffer = len(model.buffers) - 1


def _numbers(vector) -> list[int]:
    return [] if vector is None else [int(i) for i in vector]
