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

#: Scale of an input over scale of the output within which ADD and SUB have this arithmetic,
#: [low, high).
ADD_RATIOS = (2.0**-10, 256.0)

#: Product of the input's scales over scale of the output for MUL, [low, high).
MUL_RATIOS = (2.0**-16, 256.0)

#: Scale of the input over scale of the output for QUANTIZE from int8 to int8, [low, high).
RESCALE_RATIOS = (2.0**-8, 128.0)


def add(a, b, grid_a: Grid, grid_b: Grid, output: Grid, activation: str = "NONE"):
    """ADD of two tensors, in fixed point with at least 20 bits."""
    return _add(a, b, grid_a, grid_b, output, activation, sign=1)


def subtract(a, b, grid_a: Grid, grid_b: Grid, output: Grid, activation: str = "NONE"):
    """SUB, a − b; as `add`."""
    return _add(a, b, grid_a, grid_b, output, activation, sign=-1)


def multiply(a, b, grid_a: Grid, grid_b: Grid, output: Grid, activation: str = "NONE"):
    """MUL of two tensors: the product of the integers times one float32, rounded half to even."""
    factor = rounded(grid_a.scale * grid_b.scale) / output.scale
    return activate(ops.round(a * b * factor), output, activation)


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
    ratio_a, ratio_b = grid_a.scale / output.scale, grid_b.scale / output.scale
    shift = 20 - fixed_point.floor_log2(ops.maximum(ratio_a, ratio_b))
    power = ops.cast(ops.left_shift(np.int32(1), shift), "float32")
    acc = (
        ops.cast(a, "int32") * ops.cast(ops.round(ratio_a * power), "int32")
        + ops.cast(b, "int32") * (sign * ops.cast(ops.round(ratio_b * power), "int32"))
        + ops.left_shift(np.int32(1), shift - 1)
    )
    return activate(ops.cast(ops.right_shift(acc, shift), "float32"), output, activation)
