"""How each operator of a frozen graph is written to a TFLite file: one function a kind.

An encoder takes a `mobilequant.integer.graph.Operator` and a `Writer` and returns an `Encoded`.
`ENCODERS` maps the kinds to them; adding an operator means adding one function here, and its
version to the targets that take it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilequant.integer.graph import Operator, Tensor
from tflite_tools.errors import ConversionError

#: First TFLite runtime that runs what we write, by operator and version.
MINIMUM_RUNTIME = {
    ("ADD", 2): "1.14.0",
    ("CONV_2D", 3): "1.14.0",
    ("CONV_2D", 6): "2.9.0",
    ("DEPTHWISE_CONV_2D", 3): "1.14.0",
    ("FULLY_CONNECTED", 4): "1.14.0",
    ("FULLY_CONNECTED", 5): "2.0.0",
    ("FULLY_CONNECTED", 12): "2.17.0",
    ("MEAN", 2): "1.14.0",
    ("PAD", 2): "1.14.0",
    ("QUANTIZE", 1): "1.14.0",
    ("RESHAPE", 1): "1.5.0",
    ("SOFTMAX", 2): "1.14.0",
}


#: XNNPACK does not load a convolution or a fully connected layer whose accumulators it would
#: have to multiply by as much as this.
_LARGEST_MULTIPLIER = 256


class Writer(Protocol):
    """What an encoder needs to know of the file that it writes into."""

    batch_size: int

    def activation(self, tensor: Tensor) -> int:
        """Index of an activation tensor in the file."""

    def constant(
        self, name: str, values: np.ndarray, scales: np.ndarray | None = None, dimension: int = 0
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


def _fully_connected(op: Operator, writer: Writer) -> Encoded:
    keeps_dimensions = len(op.outputs[0].shape) > 1
    options = schema.FullyConnectedOptionsT(
        fusedActivationFunction=_activation(op), keepNumDims=keeps_dimensions
    )
    inputs = _with_weights(op, writer, op.weights.values.T, channel_dimension=0)
    if len(op.weights.scales) > 1:
        return Encoded(12, inputs, options)
    return Encoded(5 if keeps_dimensions else 4, inputs, options)


def _add(op: Operator, writer: Writer) -> Encoded:
    options = schema.AddOptionsT(fusedActivationFunction=_activation(op))
    return Encoded(2, _activations(op, writer), options)


def _mean(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    axes = writer.constant(f"{op.name}/axes", np.array(op.options["axes"], np.int32))
    options = schema.ReducerOptionsT(keepDims=bool(op.options["keepdims"]))
    return Encoded(2, [*_activations(op, writer), axes], options)


def _softmax(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    output = op.outputs[0]
    if output.scale != np.float32(1 / 256) or output.zero_point != -128:
        raise ConversionError(
            f"Layer {op.name!r}: SOFTMAX gives scale 1/256 and zero point -128, got "
            f"{output.scale} and {output.zero_point}."
        )
    options = schema.SoftmaxOptionsT(beta=float(op.options.get("beta", 1.0)))
    return Encoded(2, _activations(op, writer), options)


def _pad(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    paddings = np.array([(0, 0), *op.options["paddings"]], np.int32)
    constant = writer.constant(f"{op.name}/paddings", paddings)
    return Encoded(2, [*_activations(op, writer), constant], schema.PadOptionsT())


def _reshape(op: Operator, writer: Writer) -> Encoded:
    _refuse_activation(op)
    _require_shared_grid(op)
    shape = np.array([writer.batch_size, *op.outputs[0].shape], np.int32)
    constant = writer.constant(f"{op.name}/shape", shape)
    options = schema.ReshapeOptionsT(newShape=shape)
    return Encoded(1, [*_activations(op, writer), constant], options)


#: One encoder for each kind of operator that a frozen graph can hold.
ENCODERS: dict[str, Callable[[Operator, Writer], Encoded]] = {
    "ADD": _add,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "MEAN": _mean,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
}


def _activations(op: Operator, writer: Writer) -> list[int]:
    return [writer.activation(tensor) for tensor in op.inputs]


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


def _padding(op: Operator) -> int:
    return {"SAME": schema.Padding.SAME, "VALID": schema.Padding.VALID}[op.options["padding"]]


def _activation(op: Operator) -> int:
    return getattr(schema.ActivationFunctionType, op.activation)


def _refuse_activation(op: Operator) -> None:
    if op.activation != "NONE":
        raise ConversionError(f"Layer {op.name!r}: {op.kind} cannot hold {op.activation}.")


def _require_shared_grid(op: Operator) -> None:
    tensors: Sequence[Tensor] = [*op.inputs, *op.outputs]
    if not all(tensor.same_grid(tensors[0]) for tensor in tensors):
        raise ConversionError(
            f"Layer {op.name!r}: {op.kind} copies integers, so its input and output must share "
            f"scale and zero point; got {[(float(t.scale), t.zero_point) for t in tensors]}."
        )
