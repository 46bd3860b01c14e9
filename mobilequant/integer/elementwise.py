"""Operators that combine two tensors element by element, and the change from a grid to another.

The two tensors of an operator broadcast against each other, as they do on the device. Where a
kernel has an arithmetic of its own for extreme ratios of scales, the ratios within which the
formula here holds are a constant beside it: layers refuse the others by name.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from mobilequant.integer import fixed_point
from mobilequant.integer.grid import Grid, activate, saturate
from mobilequant.quantizers.exact import rounded

#: Scale of an input over scale of the output that ADD and SUB are computed for here, [low, high).
ADD_RATIOS = (0.0, 256.0)

#: Product of the input's scales over scale of the output for MUL, [low, high).
MUL_RATIOS = (0.0, 256.0)

#: The smallest ratios with which XNNPACK adds and multiplies; where one is smaller it leaves the
#: operator to LiteRT's own kernel, which has an arithmetic of its own.
_XNNPACK_ADDS_FROM = 2.0**-10
_XNNPACK_MULTIPLIES_FROM = 2.0**-16

#: Bits behind the point with which LiteRT's own kernel adds.
_FRACTION_BITS = 20

#: Scale of the input over scale of the output for QUANTIZE from int8 to int8, [low, high).
RESCALE_RATIOS = (2.0**-8, 128.0)


def adds_exactly(*ratios) -> bool:
    """Whether ADD and SUB of inputs with these scales, over that of the output, are computed here.

    LiteRT's own kernel has 16 bits for what it adds and then clips.
    """
    own_kernel = min(ratios) < _XNNPACK_ADDS_FROM
    return max(ratios) < (ADD_RATIOS[1] / 2 if own_kernel else ADD_RATIOS[1])


def add(a, b, grid_a: Grid, grid_b: Grid, output: Grid, activation: str = "NONE"):
    """ADD of two tensors, in fixed point with at least 20 bits.

    A scale far below that of the output, as a branch that is all but dead has it, is outside what
    XNNPACK adds; it is computed by LiteRT's own kernel then, and here.
    """
    return _add(a, b, grid_a, grid_b, output, activation, sign=1)


def subtract(a, b, grid_a: Grid, grid_b: Grid, output: Grid, activation: str = "NONE"):
    """SUB, a − b; as `add`."""
    return _add(a, b, grid_a, grid_b, output, activation, sign=-1)


def multiply(a, b, grid_a: Grid, grid_b: Grid, output: Grid, activation: str = "NONE"):
    """MUL of two tensors: the product of the integers times one float32, rounded half to even.

    By LiteRT's own kernel, where XNNPACK does not run: times one number in fixed point.
    """
    scale = rounded(grid_a.scale * grid_b.scale)
    ratio = scale / output.scale

    def by_xnnpack():
        return ops.round(a * b * ratio)

    def by_own_kernel():
        factor = fixed_point.fixed_point(scale, output.scale)
        return ops.cast(fixed_point.multiply(ops.cast(a * b, "int32"), factor), "float32")

    plain = ratio >= _XNNPACK_MULTIPLIES_FROM
    return activate(ops.cond(plain, by_xnnpack, by_own_kernel), output, activation)


def maximum(a, b):
    """MAXIMUM of two tensors that share a grid with the output."""
    return ops.maximum(a, b)


def minimum(a, b):
    """MINIMUM; as `maximum`."""
    return ops.minimum(a, b)


def rescale(x, grid: Grid, output: Grid):
    """QUANTIZE from one int8 grid to another, in fixed point with 8 bits behind the point."""
    factor = ops.cast(ops.round(256.0 * (grid.scale / output.scale)), "int32")
    acc = ops.cast(x, "int32") * factor + 128
    return saturate(ops.cast(ops.right_shift(acc, 8), "float32"), output)


def _add(a, b, grid_a, grid_b, output, activation, sign):
    a, b = ops.cast(a, "int32"), sign * ops.cast(b, "int32")
    ratio_a, ratio_b = grid_a.scale / output.scale, grid_b.scale / output.scale

    def by_xnnpack():
        shift = _FRACTION_BITS - fixed_point.floor_log2(ops.maximum(ratio_a, ratio_b))
        power = ops.cast(ops.left_shift(np.int32(1), shift), "float32")
        acc = (
            a * ops.cast(ops.round(ratio_a * power), "int32")
            + b * ops.cast(ops.round(ratio_b * power), "int32")
            + ops.left_shift(np.int32(1), shift - 1)
        )
        return ops.cast(ops.right_shift(acc, shift), "float32")

    def by_own_kernel():
        # Of at most one half each, so that the sum fits.
        twice = 2.0 * ops.maximum(grid_a.scale, grid_b.scale)
        total = _scaled(a, grid_a.scale, twice) + _scaled(b, grid_b.scale, twice)
        mantissa, shift = fixed_point.fixed_point(twice, output.scale)
        factor = fixed_point.FixedPoint(mantissa, shift - _FRACTION_BITS)
        return ops.cast(fixed_point.multiply(total, factor), "float32")

    plain = ops.minimum(ratio_a, ratio_b) >= _XNNPACK_ADDS_FROM
    return activate(ops.cond(plain, by_xnnpack, by_own_kernel), output, activation)


def _scaled(x, scale, unit):
    """x · scale / unit with bits behind the point."""
    factor = fixed_point.fixed_point(scale, unit)
    return fixed_point.multiply(ops.left_shift(x, _FRACTION_BITS), factor)
