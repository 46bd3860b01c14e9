"""Operators in the graph (`x + y`, `x * 0.5`, `keras.ops.*`) as the layers that mean the same.

Keras records them as operations that are no layers. A table says which layers each becomes, so
that the rules for layers do the rest; what has no place in the table is reported by `quantize`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import keras
import numpy as np

from mobilequant.layers.clipping import Clip
from mobilequant.layers.constants import ConstantOperand
from mobilequant.layers.functions import ElementwiseFunction, gelu_by_tanh
from mobilequant.layers.reducing import Reduction
from mobilequant.layers.selecting import ArgMax, Extreme
from mobilequant.quantize import parts
from mobilequant.quantize.graph import Call, Graph
from mobilequant.quantize.rules import Unsupported, find_rule

_HEIGHT_WIDTH = (1, 2)


def as_layers(graph: Graph) -> Graph:
    """The graph with layers in the places of operations; those without keep a `problem`."""
    calls = []
    for call in graph.calls:
        is_layer = isinstance(call.layer, keras.layers.Layer)
        calls += [call] if is_layer or find_rule(call.layer) else _as_layers(call)
    return Graph(graph.inputs, graph.outputs, calls, graph.structures)


def _as_layers(call):
    name = type(call.layer).__name__
    from_keras = type(call.layer).__module__.startswith("keras.")
    translate = OPERATIONS.get(name) if from_keras else None
    if translate is None:
        return [call]
    try:
        made = translate(call)
    except Unsupported as problem:
        return [dataclasses.replace(call, problem=str(problem))]
    name = call.layer.name
    if isinstance(made, tuple):
        return _chain(call, *made, name, call.outputs)
    calls = []
    for i, (chain, output) in enumerate(zip(made, call.outputs, strict=True)):
        calls += _chain(call, *chain, f"{name}_{i}", [output])
    return calls


def _chain(call, new_layers, tensors, name, last_outputs):
    """Calls of one layer after the other; the last gives what the operation gave."""
    calls = []
    for i, layer in enumerate(new_layers):
        last = i == len(new_layers) - 1
        layer.name = name if last else f"{name}_{layer.name}"
        feed = tensors if len(tensors) > 1 else tensors[0]
        outputs = last_outputs if last else [layer.compute_output_spec(feed)]
        calls.append(Call(layer, tensors, outputs, operands=(feed,), prefix=call.prefix))
        tensors = outputs
    return calls


# What the entries of the table do. Each takes the call and gives (layers, tensors), or
# a list of these, one for each output.


def _operands(call):
    """The operands of an operator on two: (tensors and constants)."""
    values = [*call.operands, *call.arguments.values()][:2]
    return [v if _is_tensor(v) else _constant(v) for v in values]


def _is_tensor(value):
    return isinstance(value, keras.KerasTensor)


def _constant(value):
    return np.asarray(keras.ops.convert_to_numpy(value), "float32")


def _with_constant(tensor, operation, value):
    """A tensor and a constant. What a convolution before it can take over becomes `Rescaling`."""
    shape = tuple(value.shape)
    if len(shape) == len(tensor.shape):
        if shape[0] != 1:
            raise Unsupported(f"a constant of shape {shape}, which differs within the batch.")
        value = value[0]
    wide = np.broadcast_shapes(value.shape, tuple(n or 1 for n in tensor.shape[1:]))
    if wide != tuple(n or 1 for n in tensor.shape[1:]):
        raise Unsupported(
            f"a constant of shape {shape} on a tensor of shape {tuple(tensor.shape)}; repeat the "
            "tensor first."
        )
    if not np.all(np.isfinite(value)):
        raise Unsupported("a constant that is NaN or infinite.")
    if operation == "multiply" and value.size == 1 and value.item() > 0:
        return [keras.layers.Rescaling(value.item())], [tensor]
    return [ConstantOperand(operation, value)], [tensor]


def _merge(layer_type):
    """Two tensors to one."""

    def translate(call):
        ranks = {len(tensor.shape) for tensor in call.inputs}
        if len(ranks) > 1:
            shapes = [tuple(tensor.shape) for tensor in call.inputs]
            raise Unsupported(f"tensors of shapes {shapes}; reshape them to one rank first.")
        return [layer_type()], call.inputs

    return translate


def _add(call):
    a, b = _operands(call)
    if _is_tensor(a) and _is_tensor(b):
        return _merge(keras.layers.Add)(call)
    return _with_constant(a, "add", b) if _is_tensor(a) else _with_constant(b, "add", a)


def _subtract(call):
    a, b = _operands(call)
    if _is_tensor(a) and _is_tensor(b):
        return _merge(keras.layers.Subtract)(call)
    if _is_tensor(a):
        return _with_constant(a, "add", -b)
    return _with_constant(b, "subtract_from", a)


def _multiply(call):
    a, b = _operands(call)
    if _is_tensor(a) and _is_tensor(b):
        return _merge(keras.layers.Multiply)(call)
    if _is_tensor(a):
        return _with_constant(a, "multiply", b)
    return _with_constant(b, "multiply", a)


def _divide(call):
    a, b = _operands(call)
    if _is_tensor(b):
        raise Unsupported(
            "a division by a tensor has no integer form; multiply, or normalize with a layer."
        )
    if not np.all(b):
        raise Unsupported("a division by 0.")
    return _with_constant(a, "multiply", 1.0 / b)


def _negative(call):
    return _with_constant(call.inputs[0], "multiply", np.float32(-1))


def _square(call):
    return [keras.layers.Multiply()], [call.inputs[0], call.inputs[0]]


def _power(call):
    a, b = _operands(call)
    if _is_tensor(a) and not _is_tensor(b) and b.size == 1 and b.item() == 2:
        return _square(call)
    raise Unsupported("only squares, x ** 2, have an integer form; use a product or an activation.")


def _extremum(layer_type):
    """Maximum or minimum of two tensors, or of one and a bound."""

    def translate(call):
        a, b = _operands(call)
        if _is_tensor(a) and _is_tensor(b):
            return _merge(layer_type)(call)
        tensor, bound = (a, b) if _is_tensor(a) else (b, a)
        if bound.size != 1 or not np.isfinite(bound.item()):
            raise Unsupported("bounds that differ from element to element; use one number.")
        if layer_type is keras.layers.Minimum:
            return [Clip(high=bound.item())], [tensor]
        return [keras.layers.ReLU() if bound.item() == 0 else Clip(low=bound.item())], [tensor]

    return translate


def _clip(call):
    low, high = call.layer.x_min, call.layer.x_max
    if not all(bound is None or np.ndim(bound) == 0 for bound in (low, high)):
        raise Unsupported("bounds that differ from element to element; use one number.")
    if low == 0 and high is not None and high > 0:
        return [keras.layers.ReLU(float(high))], call.inputs
    low, high = (None if bound is None else float(bound) for bound in (low, high))
    return [Clip(low, high)], call.inputs


def _function(kind):
    """A function that the device has as an operator, and Keras not as a layer."""
    return lambda call: ([ElementwiseFunction(kind)], call.inputs)


def _activation(name):
    """A function that `keras.layers.Activation` knows by name."""
    return lambda call: ([keras.layers.Activation(name)], call.inputs)


def _relu6(call):
    return [keras.layers.ReLU(6.0)], call.inputs


def _leaky_relu(call):
    return [keras.layers.LeakyReLU(negative_slope=call.layer.negative_slope)], call.inputs


def _elu(call):
    return [keras.layers.ELU(alpha=call.layer.alpha)], call.inputs


def _softmax(call):
    return [keras.layers.Softmax(axis=call.layer.axis)], call.inputs


def _gelu(call):
    function = gelu_by_tanh if call.layer.approximate else "gelu"
    return [keras.layers.Activation(function)], call.inputs


def _reshape(call):
    """Also expand_dims, squeeze and ravel of all but the batch."""
    source, target = tuple(call.inputs[0].shape), tuple(call.outputs[0].shape)
    known = None not in source[1:] and None not in target[1:]
    if not target or not known or math.prod(source[1:]) != math.prod(target[1:]):
        raise Unsupported(
            f"from shape {source} to {target}; the batch must stay as it is, the rest be known."
        )
    return [keras.layers.Reshape(target[1:])], call.inputs


def _permute(permutation):
    """`permutation` gives, from the call and its rank, the order of all dimensions."""

    def translate(call):
        order = permutation(call.layer, len(call.inputs[0].shape))
        if order[0] != 0:
            raise Unsupported(f"the order {order} moves the batch.")
        return [keras.layers.Permute(order[1:])], call.inputs

    return translate


def _transposed(operation, rank):
    axes = operation.axes if operation.axes is not None else reversed(range(rank))
    return tuple(axis % rank for axis in axes)


def _swapped(operation, rank):
    order = list(range(rank))
    a, b = operation.axis1, operation.axis2
    order[a], order[b] = order[b], order[a]
    return tuple(order)


def _moved(operation, rank):
    sources = [axis % rank for axis in operation.source]
    order = [axis for axis in range(rank) if axis not in sources]
    for place, axis in sorted(zip((a % rank for a in operation.destination), sources, strict=True)):
        order.insert(place, axis)
    return tuple(order)


def _reduction(make, one=None, two=None):
    """A value of all along some dimensions; where there are pooling layers for them, by these."""

    def translate(call):
        rank = len(call.inputs[0].shape)
        axes = call.layer.axis if call.layer.axis is not None else range(rank)
        axes = tuple(sorted(axis % rank for axis in axes))
        if 0 in axes or None in [call.inputs[0].shape[axis] for axis in axes]:
            raise Unsupported(
                f"over dimensions {axes} of {rank}; all of known size but the batch can be reduced."
            )
        if getattr(call.layer, "initial", None) is not None:
            raise Unsupported("an initial value; use keras.ops.maximum or minimum behind it.")
        keepdims = call.layer.keepdims
        if two and rank == 4 and axes == _HEIGHT_WIDTH:
            return [two(keepdims=keepdims)], call.inputs
        if one and rank == 3 and axes == (1,):
            return [one(keepdims=keepdims)], call.inputs
        if len(axes) == rank - 1 and not keepdims:
            # A device has no tensors without dimensions behind the batch.
            raise Unsupported("to one number; give it keepdims=True.")
        return [make(axes, keepdims)], call.inputs

    return translate


def _matmul(call):
    a, b = _operands(call)
    if not (_is_tensor(a) and _is_tensor(b)):
        raise Unsupported("a product with a constant matrix; use keras.layers.Dense.")
    return [keras.layers.Dot((len(a.shape) - 1, len(b.shape) - 2))], [a, b]


def _arg_max(call):
    operation = call.layer
    if operation.axis is None or operation.keepdims:
        raise Unsupported("an index into several dimensions; give one axis, without keepdims.")
    axis = operation.axis % len(call.inputs[0].shape)
    if axis == 0:
        raise Unsupported("an index along the batch; only other dimensions are compared.")
    return [ArgMax(axis)], call.inputs


def _pad(call):
    widths = [tuple(width) for width in call.layer.pad_width]
    rank = len(call.inputs[0].shape)
    widths = widths * rank if len(widths) == 1 else widths
    value = next((c for c in call.operands[1:] if c is not None), 0)
    if call.layer.mode != "constant" or np.any(_constant(value)):
        raise Unsupported("only zeros are padded.")
    if rank not in (3, 4) or any(widths[0]) or any(widths[-1]):
        raise Unsupported("pads the batch or the channels; only height and width are padded.")
    if rank == 3:
        return [keras.layers.ZeroPadding1D(widths[1])], call.inputs
    return [keras.layers.ZeroPadding2D(tuple(widths[1:3]))], call.inputs


def _resize(call):
    operation = call.layer
    plain = not (
        operation.antialias or operation.crop_to_aspect_ratio or operation.pad_to_aspect_ratio
    )
    if not plain or operation.data_format != "channels_last":
        raise Unsupported("only plain resizing, channels last, has an integer form.")
    layer = keras.layers.Resizing(*operation.size, interpolation=operation.interpolation)
    return [layer], call.inputs


def _identity(call):
    return [keras.layers.Identity()], call.inputs


_largest = _reduction(
    functools.partial(Extreme, "max"),
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
)
_smallest = _reduction(functools.partial(Extreme, "min"))

#: By the name of the operation's class.
OPERATIONS: dict[str, Callable] = {
    "Argmax": _arg_max,
    "Absolute": _function("ABS"),
    "Abs": _function("ABS"),
    "Add": _add,
    "Amax": _largest,
    "Amin": _smallest,
    "Clip": _clip,
    "Concatenate": parts.concatenate,
    "Copy": _identity,
    "Divide": _divide,
    "Elu": _elu,
    "Exp": _function("EXP"),
    "ExpandDims": _reshape,
    "Gelu": _gelu,
    "GetItem": parts.get_item,
    "HardSigmoid": _activation("hard_sigmoid"),
    "HardSilu": _activation("hard_silu"),
    "LeakyRelu": _leaky_relu,
    "Matmul": _matmul,
    "Log": _function("LOG"),
    "Max": _largest,
    "Maximum": _extremum(keras.layers.Maximum),
    "Mean": _reduction(
        functools.partial(Reduction, "mean"),
        keras.layers.GlobalAveragePooling1D,
        keras.layers.GlobalAveragePooling2D,
    ),
    "Min": _smallest,
    "Minimum": _extremum(keras.layers.Minimum),
    "Moveaxis": _permute(_moved),
    "Multiply": _multiply,
    "Negative": _negative,
    "Pad": _pad,
    "Power": _power,
    "Relu": _activation("relu"),
    "Relu6": _relu6,
    "Reshape": _reshape,
    "Resize": _resize,
    "Rsqrt": _function("RSQRT"),
    "Sigmoid": _activation("sigmoid"),
    "Silu": _activation("silu"),
    "Softmax": _softmax,
    "Softplus": _activation("softplus"),
    "Split": parts.split,
    "Sqrt": _function("SQRT"),
    "Square": _square,
    "Squeeze": _reshape,
    "Stack": parts.stack,
    "Subtract": _subtract,
    "Sum": _reduction(functools.partial(Reduction, "sum")),
    "Swapaxes": _permute(_swapped),
    "Tanh": _activation("tanh"),
    "Transpose": _permute(_transposed),
    "TrueDivide": _divide,
}
