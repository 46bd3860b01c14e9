"""The integer arithmetic of LiteRT's int8 operators on its default CPU path, XNNPACK.

Every function takes and returns *centred* integers X = q − zero point as float32 whole numbers
(|X| ≤ 255: exact), because that is what padding, convolution and addition work on; the scales
and zero points of TFLite come beside them as `Grid`s. The formulas were found by experiment
against the interpreter, and `tests/mobilequant/integer` holds them to it, operator by operator,
over random shapes, scales and zero points.

float32 holds whole numbers exactly below 2²⁴ only. Sums of products are therefore taken in
slices along the input channels, each too short to reach 2²⁴ whatever the data, and added up as
int32, as the device does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from keras import ops

from mobilequant.quantizers.exact import rounded

#: int8, the type of every activation.
SMALLEST, LARGEST = -128, 127

#: Largest magnitude of a centred activation, q − z.
_LARGEST_CENTRED = LARGEST - SMALLEST

#: Scale of an input over scale of the output within which ADD has this arithmetic, [low, high).
ADD_RATIOS = (2.0**-10, 256.0)

#: Whole numbers up to here are exact in float32.
_EXACT = 2**24


class Grid(NamedTuple):
    """Where real values lie: real = scale * (q − zero_point). float32 scalars or tensors."""

    scale: object
    zero_point: object


def quantize(x, grid: Grid):
    """Real values to centred integers: LiteRT's QUANTIZE, float32 to int8.

    Args:
        x: float32 tensor of any shape.
        grid: The grid of the result.
    """
    q = ops.round(x * (1.0 / grid.scale)) + grid.zero_point
    return ops.clip(q, SMALLEST, LARGEST) - grid.zero_point


def dequantize(centred, grid: Grid):
    """Centred integers to real values."""
    return centred * grid.scale


def recover(x, grid: Grid):
    """Centred integers back from real values that `dequantize` made: exact, since |X| ≤ 255."""
    return ops.round(x / grid.scale)


def activation_bounds(activation: str, grid: Grid):
    """Smallest and largest integer that a fused activation lets through.

    Args:
        activation: "NONE", "RELU", "RELU6" or "RELU_N1_TO_1".
        grid: The output's grid.
    """
    low, high = {
        "NONE": (None, None),
        "RELU": (0.0, None),
        "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }[activation]

    def bound(value, otherwise):
        if value is None:
            return otherwise
        # The zero point is added before rounding; a quotient cannot fuse with the addition.
        return ops.clip(ops.round(value / grid.scale + grid.zero_point), SMALLEST, LARGEST)

    return bound(low, SMALLEST), bound(high, LARGEST)


def requantize(accumulator, multiplier, output: Grid, activation: str = "NONE"):
    """int32 accumulators to centred int8: one float32 product, rounded half to even.

    Args:
        accumulator: int32 tensor, bias included.
        multiplier: float32(float32(s_input · s_weight) / s_output), a scalar or one a channel.
        output: The output's grid.
        activation: Fused activation.
    """
    low, high = activation_bounds(activation, output)
    y = ops.round(ops.cast(accumulator, "float32") * multiplier)
    return ops.clip(y, low - output.zero_point, high - output.zero_point)


def multiplier(input_scale, weight_scale, output_scale):
    """float32(float32(s_i · s_w) / s_o): in this order, one rounding each."""
    return rounded(input_scale * weight_scale) / output_scale


def convolution(
    x, kernel, largest_weight, bias, scaling, output, activation, *, strides, padding, dilation
):
    """CONV_2D.

    Args:
        x: Centred integers, (batch, height, width, channels).
        kernel: float32 whole numbers, (*kernel, channels / groups, filters).
        largest_weight: Largest magnitude that an element of `kernel` can have.
        bias: int32, (filters,).
        scaling: What `multiplier` gives, (filters,).
        output: Grid of the output.
        activation: Fused activation.
        strides, dilation: Whole numbers, two each.
        padding: "same" or "valid".
    """

    def convolve(inputs, weights):
        return ops.conv(
            inputs,
            weights,
            strides=tuple(strides),
            padding=padding,
            data_format="channels_last",
            dilation_rate=tuple(dilation),
        )

    groups = x.shape[-1] // kernel.shape[-2]
    acc = _exact_products(convolve, x, kernel, largest_weight, groups)
    return requantize(acc + bias, scaling, output, activation)


def depthwise_convolution(
    x, kernel, largest_weight, bias, scaling, output, activation, *, strides, padding, dilation
):
    """DEPTHWISE_CONV_2D; arguments as `convolution`, kernel (*kernel, channels, multiplier)."""
    terms = math.prod(kernel.shape[:-2])
    if terms * _LARGEST_CENTRED * largest_weight > _EXACT:
        raise ValueError(
            f"A depthwise kernel of {terms} elements is too large for exact float32 sums; at most "
            f"{_EXACT // (_LARGEST_CENTRED * largest_weight)} elements."
        )
    acc = ops.depthwise_conv(
        x,
        kernel,
        strides=tuple(strides),
        padding=padding,
        data_format="channels_last",
        dilation_rate=tuple(dilation),
    )
    return requantize(ops.cast(acc, "int32") + bias, scaling, output, activation)


def fully_connected(x, kernel, largest_weight, bias, scaling, output, activation):
    """FULLY_CONNECTED; x (batch, inputs), kernel (inputs, units)."""
    acc = _exact_products(ops.matmul, x, kernel, largest_weight, groups=1)
    return requantize(acc + bias, scaling, output, activation)


def add(a, b, grid_a: Grid, grid_b: Grid, output: Grid, activation: str = "NONE"):
    """ADD of two tensors of the same shape, in fixed point with at least 20 bits."""
    ratio_a, ratio_b = grid_a.scale / output.scale, grid_b.scale / output.scale
    shift = 20 - _floor_log2(ops.maximum(ratio_a, ratio_b))
    power = ops.cast(ops.left_shift(np.int32(1), shift), "float32")
    acc = (
        ops.cast(a, "int32") * ops.cast(ops.round(ratio_a * power), "int32")
        + ops.cast(b, "int32") * ops.cast(ops.round(ratio_b * power), "int32")
        + ops.left_shift(np.int32(1), shift - 1)
    )
    y = ops.cast(ops.right_shift(acc, shift), "float32")
    low, high = activation_bounds(activation, output)
    return ops.clip(y, low - output.zero_point, high - output.zero_point)


def mean(x, grid: Grid, output: Grid, axes, keepdims: bool):
    """MEAN over height and width (any of the dimensions 1 and 2).

    Computed as the device does from raw sums Σq, the zero point in a constant of its own.
    """
    count = float(math.prod(x.shape[axis] for axis in axes))
    zero_points = grid.zero_point * count
    total = ops.sum(x, axis=axes, keepdims=keepdims) + zero_points
    scale = rounded((grid.scale / output.scale) * float(np.float32(1 / count)))
    constant = output.zero_point - rounded(zero_points * scale)
    q = ops.round(rounded(total * scale) + constant)
    return ops.clip(q, SMALLEST, LARGEST) - output.zero_point


def softmax(x, grid: Grid, output: Grid):
    """SOFTMAX over the last dimension; other processors may differ by a step."""
    distance = x - ops.max(x, axis=-1, keepdims=True)
    e = ops.exp(distance * grid.scale)
    y = e * (1.0 / (ops.sum(e, axis=-1, keepdims=True) * output.scale))
    q = ops.floor(y + 0.5) + output.zero_point
    return ops.clip(q, SMALLEST, LARGEST) - output.zero_point


def _floor_log2(x):
    """⌊log2 x⌋ as int32, exact for powers of two, for x in [2⁻¹⁶, 2¹⁶)."""
    powers = np.exp2(np.arange(-15, 16)).astype("float32")
    return ops.sum(ops.cast(x >= powers, "int32")) - 16


def _exact_products(product, x, kernel, largest_weight, groups):
    """Sums of products as int32, from float32 products over slices that stay exact.

    Args:
        product: Linear in both arguments; contracts the last dimension of `x` with the last but
            one of `kernel`.
        x: Centred integers.
        kernel: Whole numbers.
        largest_weight: Bound of the magnitudes in `kernel`.
        groups: Groups of the convolution.
    """
    largest_product = _LARGEST_CENTRED * largest_weight
    taps, channels = math.prod(kernel.shape[:-2]), kernel.shape[-2]
    if taps * channels * largest_product <= _EXACT:
        return ops.cast(product(x, kernel), "int32")
    if groups > 1 or taps * largest_product > _EXACT:
        return _split_weights(product, x, kernel, taps * channels)
    step = _EXACT // (taps * largest_product)
    parts = [
        ops.cast(product(x[..., i : i + step], kernel[..., i : i + step, :]), "int32")
        for i in range(0, channels, step)
    ]
    return sum(parts[1:], parts[0])


def _split_weights(product, x, kernel, terms):
    """The same where slices along the channels do not help: weights = 16 · high + low."""
    if terms * _LARGEST_CENTRED * 8 > _EXACT:
        raise ValueError(f"{terms} products to a sum are too many for exact float32 arithmetic.")
    high = ops.round(kernel * 0.0625)
    low = kernel - high * 16.0
    return ops.cast(product(x, high), "int32") * 16 + ops.cast(product(x, low), "int32")
