"""Operators that sum products: convolutions, fully connected layers, products of matrices.

float32 holds whole numbers exactly below 2²⁴ only. Sums of products are therefore taken in
slices along the input channels, each too short to reach 2²⁴ whatever the data, and added up as
int32, as the device does.
"""

from __future__ import annotations

import math

from keras import ops

from mobilequant.integer import fixed_point
from mobilequant.integer.grid import LARGEST_CENTRED, Grid, activate
from mobilequant.quantizers.exact import rounded

#: Whole numbers up to here are exact in float32.
_EXACT = 2**24

#: Product of the input's scales over scale of the output within which XNNPACK takes a
#: BATCH_MATMUL, [low, high).
MATMUL_RATIOS = (2.0**-32, 256.0)


def requantize(accumulator, multiplier, output: Grid, activation: str = "NONE"):
    """int32 accumulators to centred int8: one float32 product, rounded half to even.

    Args:
        accumulator: int32 tensor, bias included.
        multiplier: float32(float32(s_input · s_weight) / s_output), a scalar or one a channel.
        output: The output's grid.
        activation: Fused activation.
    """
    y = ops.round(ops.cast(accumulator, "float32") * multiplier)
    return activate(y, output, activation)


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
    if terms * LARGEST_CENTRED * largest_weight > _EXACT:
        raise ValueError(
            f"A depthwise kernel of {terms} elements is too large for exact float32 sums; at most "
            f"{_EXACT // (LARGEST_CENTRED * largest_weight)} elements."
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


def transposed_convolution(
    x, kernel, largest_weight, bias, scaling, output, activation, *, strides, padding
):
    """TRANSPOSE_CONV; arguments as `convolution`, kernel (*kernel, filters, channels).

    For what `kernel_covers_strides` says no to, LiteRT has another arithmetic.
    """

    def convolve(inputs, weights):
        return ops.conv_transpose(
            inputs,
            ops.swapaxes(weights, -1, -2),
            strides=tuple(strides),
            padding=padding,
            data_format="channels_last",
        )

    kernel = ops.swapaxes(kernel, -1, -2)
    acc = _exact_products(convolve, x, kernel, largest_weight, groups=1)
    return requantize(acc + bias, scaling, output, activation)


def kernel_covers_strides(kernel_size, strides, padding: str) -> bool:
    """Whether XNNPACK takes a TRANSPOSE_CONV: no kernel smaller than its stride under "same".

    Args:
        kernel_size, strides: Whole numbers, two each.
        padding: "same" or "valid", in either case of letters.
    """
    pairs = zip(kernel_size, strides, strict=True)
    return padding.lower() != "same" or all(kernel >= stride for kernel, stride in pairs)


def fully_connected(x, kernel, largest_weight, bias, scaling, output, activation):
    """FULLY_CONNECTED; x (..., inputs), kernel (inputs, units)."""
    acc = _exact_products(ops.matmul, x, kernel, largest_weight, groups=1)
    return requantize(acc + bias, scaling, output, activation)


def batch_matmul(
    a, b, grid_a: Grid, grid_b: Grid, output: Grid, *, adj_x: bool = False, adj_y: bool = False
):
    """BATCH_MATMUL: matrix products over the last two dimensions, the others being batches.

    A right zero point of 0 brings XNNPACK's kernel and its arithmetic, any other LiteRT's own,
    which rounds otherwise (and is slower on the device).

    Args:
        a, b: Centred integers, (..., rows, inner) and (..., inner, columns).
        grid_a, grid_b: Their grids.
        output: Grid of the output.
        adj_x, adj_y: Whether the last two dimensions of `a`, of `b`, come swapped.
    """
    a = ops.swapaxes(a, -1, -2) if adj_x else a
    b = ops.swapaxes(b, -1, -2) if adj_y else b
    acc = _exact_products(ops.matmul, a, b, LARGEST_CENTRED, groups=1)
    product = rounded(grid_a.scale * grid_b.scale)
    return ops.cond(
        ops.equal(grid_b.zero_point, 0.0),
        lambda: requantize(acc, product / output.scale, output),
        lambda: activate(
            ops.cast(
                fixed_point.multiply(acc, fixed_point.fixed_point(product, output.scale)),
                "float32",
            ),
            output,
            "NONE",
        ),
    )


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
    largest_product = LARGEST_CENTRED * largest_weight
    taps = 1 if product is ops.matmul else math.prod(kernel.shape[:-2])
    channels = kernel.shape[-2]
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
    if terms * LARGEST_CENTRED * 8 > _EXACT:
        raise ValueError(f"{terms} products to a sum are too many for exact float32 arithmetic.")
    high = ops.round(kernel * 0.0625)
    low = kernel - high * 16.0
    return ops.cast(product(x, high), "int32") * 16 + ops.cast(product(x, low), "int32")
