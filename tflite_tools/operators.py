"""How each operator of a frozen graph is written to a TFLite file: one function a kind.

An encoder takes a `mobilequant.integer.graph.Operator` and a `Writer` and returns an `Encoded`.
`ENCODERS` maps the kinds to them; adding an operator means adding one function here, its versions
to `mobilequant.operator_versions`, and it to the targets that take it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilequant.integer import arithmetic
from mobilequant.integer.graph import Constant, FloatTensor, Operator, Tensor
from tflite_tools.errors import ConversionError

#: XNNPACK does not load a convolution or a fully connected layer whose accumulators it would
#: have to multiply by as much as this.
_LARGEST_MULTIPLIER = 256


class Writer(Protocol):
    """What an encoder needs to know of the file that it writes into."""

    batch_size: int

    def activation(self, tensor: Tensor | FloatTensor) -> int:
        """Index of an activation tensor in the file."""

    def constant(
        self,
        name: str,
        values: np.ndarray,
        scales: np.ndarray | None = None,
        dimension: int = 0,
        zero_point: int = 0,
    ) -> int:
        """Index of a constant tensor with these values; `scales` lie along `dimension`."""


@dataclasses.dataclass
class Encoded:
    """One operator as the file holds it.

    Attributes:
        version: Lowest version of the builtin operator that can express it.
        inputs: Tensor indices, activations and constants in TFLite's order.
        options: One of the schema's options objects, or None.
    """

    version: int
    inputs: list[int]
    options: object | None = None

    @property
    def options_type(self) -> int:
        """Number of the options' kind in the schema's union."""
        if self.options is None:
            return schema.BuiltinOptions.NONE
        return getattr(schema.BuiltinOptions, type(self.options).__name__.removesuffix("T"))


def encode(op: Operator, writer: Writer) -> Encoded:
    """Encodes an operator.

    Raises:
        ConversionError: There is no encoder for its kind, or the operator breaks a rule of its
            TFLite kernel; the message names the operator.
    """
    try:
        encoder = ENCODERS[op.kind]
    except KeyError:
        raise ConversionError(
            f"Layer {op.name!r}: no rule writes the operator {op.kind}; known are "
            f"{', '.join(sorted(ENCODERS))}."
        ) from None
    for constant in op.constants.values():
        _check_constant(op, constant)
    return encoder(op, writer)


def _convolution(op: Operator, writer: Writer) -> Encoded:
    filters = np.moveaxis(op.weights.values, -1, 0)
    grouped = filters.shape[-1] != op.inputs[0].shape[-1]
    options = schema.Conv2DOptionsT(
        padding=_padding(op),
        strideH=op.options["strides"][0],
        strideW=op.options["strides"][1],
        dilationHFactor=op.options["dilation"][0],
        dilationWFactor=op.options["dilation"][1],
        fusedActivationFunction=_activation(op),
    )
    inputs = _with_weights(op, writer, filters, channel_dimension=0)
    return Encoded(6 if grouped else 3, inputs, options)


def _depthwise_convolution(op: Operator, writer: Writer) -> Encoded:
    height, width, channels, multiplier = op.weights.values.shape
    filters = op.weights.values.reshape(1, height, width, channels * multiplier)
    options = schema.DepthwiseConv2DOptionsT(
        padding=_padding(op),
        strideH=op.options["strides"][0],
        strideW=op.options["strides"][1],
        dilationHFactor=op.options["dilation"][0],
        dilationWFactor=op.options["dilation"][1],
        depthMultiplier=multiplier,
        fusedActivationFunction=_activation(op),
    )
    return Encoded(3, _with_weights(op, writer, filters, channel_dimension=3), options)


def _transposed_convolution(op: Operator, writer: Writer) -> Encoded:
    # Fused activations came with version 4 and runtime 2.13 only.
    _refuse_activation(op)
    height, width, _, _ = op.weights.values.shape
    strides = op.options["strides"]
    if not arithmetic.kernel_covers_strides((height, width), strides, op.options["padding"]):
        raise ConversionError(
            f"Layer {op.name!r}: TRANSPOSE_CONV with padding SAME and a kernel of {height} x "
            f"{width} leaves gaps between its strides {tuple(strides)}; LiteRT computes that "
            'otherwise than Keras. Use a kernel as large as the strides, or padding "valid".'
        )
    options = schema.TransposeConvOptionsT(
        padding=_padding(op), strideH=strides[0], strideW=strides[1]
    )
    shape = np.array([writer.batch_size, *op.outputs[0].shape], np.int32)
    filters = np.moveaxis(op.weights.values, 2, 0)
    image, weights, bias = _with_weights(op, writer, filters, channel_dimension=0)
    size = writer.constant(f"{op.name}/shape", shape)
    return Encoded(3, [size, weights, image, bias], options)


def _pool(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    options = schema.Pool2DOptionsT(
        padding=_padding(op),
        strideH=op.options["strides"][0],
        strideW=op.options["strides"][1],
        filterHeight=op.options["pool_size"][0],
        filterWidth=op.options["pool_size"][1],
    )
    return Encoded(2, _operands(op, writer), options)


def _resize(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    make = {
        "RESIZE_BILINEAR": schema.ResizeBilinearOptionsT,
        "RESIZE_NEAREST_NEIGHBOR": schema.ResizeNearestNeighborOptionsT,
    }[op.kind]
    corners = bool(op.options.get("align_corners", False))
    centres = bool(op.options.get("half_pixel_centers", False))
    size = np.array(op.outputs[0].shape[:2], np.int32)
    inputs = [*_operands(op, writer), writer.constant(f"{op.name}/size", size)]
    # Half-pixel centres came with version 3, and aligned corners of the nearest neighbour.
    newer = centres or (corners and op.kind == "RESIZE_NEAREST_NEIGHBOR")
    options = make(alignCorners=corners, halfPixelCenters=centres)
    return Encoded(3 if newer else 2, inputs, options)


def _slice(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    begin = np.array([0, *op.options["begin"]], np.int32)
    size = np.array([writer.batch_size, *op.outputs[0].shape], np.int32)
    inputs = [
        *_operands(op, writer),
        writer.constant(f"{op.name}/begin", begin),
        writer.constant(f"{op.name}/size", size),
    ]
    return Encoded(5 if _rank(op) > 4 else 2, inputs, schema.SliceOptionsT())


def _strided_slice(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    inputs = _operands(op, writer)
    for name, batch in (("begin", 0), ("end", writer.batch_size), ("strides", 1)):
        numbers = np.array([batch, *op.options[name]], np.int32)
        inputs.append(writer.constant(f"{op.name}/{name}", numbers))
    return Encoded(4 if _rank(op) > 4 else 2, inputs, schema.StridedSliceOptionsT())


def _depth_space(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    version, make = {
        "DEPTH_TO_SPACE": (1, schema.DepthToSpaceOptionsT),
        "SPACE_TO_DEPTH": (2, schema.SpaceToDepthOptionsT),
    }[op.kind]
    return Encoded(version, _operands(op, writer), make(blockSize=int(op.options["block"])))


def _fully_connected(op: Operator, writer: Writer) -> Encoded:
    keeps_dimensions = len(op.outputs[0].shape) > 1
    options = schema.FullyConnectedOptionsT(
        fusedActivationFunction=_activation(op), keepNumDims=keeps_dimensions
    )
    inputs = _with_weights(op, writer, op.weights.values.T, channel_dimension=0)
    if len(op.weights.scales) > 1:
        return Encoded(12, inputs, options)
    return Encoded(5 if keeps_dimensions else 4, inputs, options)


def _batch_matmul(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_ratio(op, _product_ratio(op), arithmetic.MATMUL_RATIOS)
    options = schema.BatchMatMulOptionsT(
        adjX=bool(op.options.get("adj_x", False)), adjY=bool(op.options.get("adj_y", False))
    )
    return Encoded(2, _operands(op, writer), options)


def _add(op: Operator, writer: Writer) -> Encoded:
    for operand in op.operands:
        _require_ratio(op, _ratio(operand, op.outputs[0]), arithmetic.ADD_RATIOS)
    make = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT}[op.kind]
    version = 3 if op.kind == "SUB" and _broadcasts_many_dimensions(op) else 2
    options = make(fusedActivationFunction=_activation(op))
    return Encoded(version, _operands(op, writer), options)


def _extremum(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    version = 3 if _broadcasts_many_dimensions(op) else 2
    return Encoded(version, _operands(op, writer), schema.MaximumMinimumOptionsT())


def _mul(op: Operator, writer: Writer) -> Encoded:
    ratio = _product_ratio(op)
    _require_ratio(op, ratio, arithmetic.MUL_RATIOS)
    options = schema.MulOptionsT(fusedActivationFunction=_activation(op))
    return Encoded(3 if ratio >= 1 else 2, _operands(op, writer), options)


def _dequantize(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    return Encoded(2, _operands(op, writer), schema.DequantizeOptionsT())


def _quantize(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    if isinstance(op.inputs[0], Tensor):
        _require_ratio(op, _ratio(op.inputs[0], op.outputs[0]), arithmetic.RESCALE_RATIOS)
    return Encoded(1, _operands(op, writer), schema.QuantizeOptionsT())


def _function(version: int, options=None) -> Callable[[Operator, Writer], Encoded]:
    """Encoder of a function of one tensor; `options` makes its options from the operator's."""

    def encoder(op: Operator, writer: Writer) -> Encoded:
        _refuse_activation(op)
        _require_fixed_grid(op)
        _require_function_ratio(op)
        _require_no_negatives(op)
        made = None if options is None else options(op.options)
        return Encoded(version, _operands(op, writer), made)

    return encoder


def _transpose(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    permutation = np.array(op.options["permutation"], np.int32)
    constant = writer.constant(f"{op.name}/permutation", permutation)
    inputs = [*_operands(op, writer), constant]
    return Encoded(4 if _rank(op) > 4 else 2, inputs, schema.TransposeOptionsT())


def _concatenation(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    options = schema.ConcatenationOptionsT(axis=int(op.options["axis"]))
    return Encoded(2, _operands(op, writer), options)


def _mean(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    axes = writer.constant(f"{op.name}/axes", np.array(op.options["axes"], np.int32))
    options = schema.ReducerOptionsT(keepDims=bool(op.options["keepdims"]))
    return Encoded(2, [*_operands(op, writer), axes], options)


def _reduced_extreme(op: Operator, writer: Writer) -> Encoded:
    _require_shared_grid(op)
    return _mean(op, writer)


def _arg_max(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    axis = writer.constant(f"{op.name}/axis", np.array(op.options["axis"], np.int32))
    options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
    return Encoded(2, [*_operands(op, writer), axis], options)


def _softmax(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_fixed_grid(op)
    options = schema.SoftmaxOptionsT(beta=float(op.options.get("beta", 1.0)))
    return Encoded(2, _operands(op, writer), options)


def _pad(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    paddings = np.array([(0, 0), *op.options["paddings"]], np.int32)
    constant = writer.constant(f"{op.name}/paddings", paddings)
    return Encoded(
        4 if _rank(op) > 4 else 2, [*_operands(op, writer), constant], schema.PadOptionsT()
    )


def _reshape(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    shape = np.array([writer.batch_size, *op.outputs[0].shape], np.int32)
    constant = writer.constant(f"{op.name}/shape", shape)
    options = schema.ReshapeOptionsT(newShape=shape)
    return Encoded(1, [*_operands(op, writer), constant], options)


#: One encoder for each kind of operator that a frozen graph can hold.
ENCODERS: dict[str, Callable[[Operator, Writer], Encoded]] = {
    "ABS": _function(2, lambda options: schema.AbsOptionsT()),
    "ADD": _add,
    "ARG_MAX": _arg_max,
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _batch_matmul,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise_convolution,
    "DEPTH_TO_SPACE": _depth_space,
    "DEQUANTIZE": _dequantize,
    "ELU": _function(1),
    "EXP": _function(2, lambda options: schema.ExpOptionsT()),
    "FULLY_CONNECTED": _fully_connected,
    "GELU": _function(
        2, lambda options: schema.GeluOptionsT(approximate=bool(options.get("approximate", False)))
    ),
    "HARD_SWISH": _function(1, lambda options: schema.HardSwishOptionsT()),
    "LEAKY_RELU": _function(
        1, lambda options: schema.LeakyReluOptionsT(alpha=float(options["alpha"]))
    ),
    "LOG": _function(2),
    "LOGISTIC": _function(2),
    "MAXIMUM": _extremum,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "MINIMUM": _extremum,
    "MUL": _mul,
    "PAD": _pad,
    "PRELU": _function(1),
    "QUANTIZE": _quantize,
    "REDUCE_MAX": _reduced_extreme,
    "REDUCE_MIN": _reduced_extreme,
    "RELU": _function(2),
    "RELU6": _function(2),
    "RELU_N1_TO_1": _function(1),
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "RSQRT": _function(2),
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _depth_space,
    "SQRT": _function(2),
    "STRIDED_SLICE": _strided_slice,
    "SUB": _add,
    "TANH": _function(2),
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transposed_convolution,
}


def _operands(op: Operator, writer: Writer) -> list[int]:
    """Indices of activations and constants in TFLite's order."""
    return [
        writer.activation(operand)
        if isinstance(operand, (Tensor, FloatTensor))
        else writer.constant(
            f"{op.name}/constant{place}",
            operand.values,
            np.array([operand.scale], np.float32),
            zero_point=operand.zero_point,
        )
        for place, operand in enumerate(op.operands)
    ]


def _check_constant(op: Operator, constant: Constant) -> None:
    where = f"Layer {op.name!r} ({op.kind})"
    if constant.values.dtype != np.int8:
        raise ConversionError(f"{where}: a constant must be int8, got {constant.values.dtype}.")
    if not (np.isfinite(constant.scale) and constant.scale > 0):
        raise ConversionError(f"{where}: a constant has the scale {constant.scale}.")


def _with_weights(
    op: Operator, writer: Writer, filters: np.ndarray, channel_dimension: int
) -> list[int]:
    """Indices of the input, the weights and the bias; `filters` is in TFLite's layout."""
    weights = op.weights
    channels = filters.shape[channel_dimension]
    _check_weights(op, filters, channels)
    scales = np.asarray(weights.scales, np.float32)
    bias = np.zeros(channels, np.int32) if weights.bias is None else weights.bias
    # Every operator that has weights has a bias: kernels of accelerators expect one.
    return [
        writer.activation(op.inputs[0]),
        writer.constant(f"{op.name}/weights", filters, scales, channel_dimension),
        writer.constant(f"{op.name}/bias", bias, np.float32(op.inputs[0].scale) * scales),
    ]


def _check_weights(op: Operator, filters: np.ndarray, channels: int) -> None:
    weights = op.weights
    where = f"Layer {op.name!r} ({op.kind})"
    if filters.dtype != np.int8 or filters.size and filters.min() < -127:
        raise ConversionError(f"{where}: weights must be int8 in [-127, 127].")
    if weights.scales.shape not in ((1,), (channels,)):
        raise ConversionError(
            f"{where}: expected 1 or {channels} weight scales, got {weights.scales.shape}."
        )
    if not (np.all(np.isfinite(weights.scales)) and np.all(weights.scales > 0)):
        raise ConversionError(f"{where}: weight scales must be positive and finite.")
    x, y = op.inputs[0], op.outputs[0]
    multiplier = float((np.float32(x.scale) * weights.scales / np.float32(y.scale)).max())
    if multiplier >= _LARGEST_MULTIPLIER:
        raise ConversionError(
            f"{where}: its output's scale {y.scale:.3g} is too small for its input's "
            f"{x.scale:.3g} and its weights' {weights.scales.max():.3g} (they multiply to "
            f"{multiplier:.3g} of it, LiteRT takes less than {_LARGEST_MULTIPLIER}): the range of "
            "the output is next to nothing. Calibrate with images that reach this layer."
        )
    if weights.bias is not None and (
        weights.bias.dtype != np.int32 or weights.bias.shape != (channels,)
    ):
        raise ConversionError(
            f"{where}: the bias must be int32 of shape ({channels},), got {weights.bias.dtype} "
            f"of shape {weights.bias.shape}."
        )


def _rank(op: Operator) -> int:
    """Dimensions of the output, the batch among them."""
    return len(op.outputs[0].shape) + 1


def _broadcasts_many_dimensions(op: Operator) -> bool:
    """Whether operands of more than four dimensions differ in shape, which came later."""
    alike = not op.constants and len({tensor.shape for tensor in op.inputs}) == 1
    return _rank(op) > 4 and not alike


def _padding(op: Operator) -> int:
    return {"SAME": schema.Padding.SAME, "VALID": schema.Padding.VALID}[op.options["padding"]]


def _activation(op: Operator) -> int:
    return getattr(schema.ActivationFunctionType, op.activation)


def _refuse_activation(op: Operator) -> None:
    if op.activation != "NONE":
        raise ConversionError(f"Layer {op.name!r}: {op.kind} cannot hold {op.activation}.")


def _ratio(operand: Tensor | Constant, output: Tensor) -> float:
    return float(np.float32(operand.scale) / np.float32(output.scale))


def _product_ratio(op: Operator) -> float:
    a, b = (np.float32(operand.scale) for operand in op.operands)
    return float(a * b / np.float32(op.outputs[0].scale))


def _require_ratio(op: Operator, ratio: float, allowed: tuple[float, float]) -> None:
    """Refuses what another kernel would compute, in another arithmetic than Keras does."""
    low, high = allowed
    if not low <= ratio < high:
        raise ConversionError(
            f"Layer {op.name!r} ({op.kind}): the scale of an input (or the product of both) is "
            f"{ratio:.3g} times that of its output, LiteRT computes exactly what Keras computes "
            f"from {low:.3g} up to {high:.3g} times. A range is next to nothing or far too wide: "
            "calibrate with images that reach this layer."
        )


def _require_function_ratio(op: Operator) -> None:
    if op.kind in arithmetic.FUNCTION_RATIOS:
        ratio = _ratio(op.inputs[0], op.outputs[0])
        _require_ratio(op, ratio, arithmetic.FUNCTION_RATIOS[op.kind])


def _require_no_negatives(op: Operator) -> None:
    if op.kind in arithmetic.OF_NO_NEGATIVES and op.inputs[0].zero_point != -128:
        raise ConversionError(
            f"Layer {op.name!r}: {op.kind} of a tensor that can be negative (its zero point is "
            f"{op.inputs[0].zero_point}, not -128), where LiteRT ends with an error. Put a ReLU "
            "before it."
        )


def _require_fixed_grid(op: Operator) -> None:
    grid, output = arithmetic.FIXED_GRIDS.get(op.kind), op.outputs[0]
    if grid is not None and (output.scale, output.zero_point) != grid:
        raise ConversionError(
            f"Layer {op.name!r}: {op.kind} gives scale {float(grid.scale)} and zero point "
            f"{int(grid.zero_point)}, got {output.scale} and {output.zero_point}."
        )


def _require_shared_grid(op: Operator) -> None:
    tensors: Sequence[Tensor | Constant] = [*op.operands, *op.outputs]
    if len({(float(tensor.scale), tensor.zero_point) for tensor in tensors}) > 1:
        raise ConversionError(
            f"Layer {op.name!r}: {op.kind} copies integers, so its input and output must share "
            f"scale and zero point; got {[(float(t.scale), t.zero_point) for t in tensors]}."
        )
