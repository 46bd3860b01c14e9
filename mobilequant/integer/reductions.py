"""Operators that look at many elements of one tensor at once: MEAN and SOFTMAX."""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from mobilequant.integer.grid import LARGEST, LARGEST_CENTRED, SMALLEST, Grid, saturate
from mobilequant.integer.rounding import in_double, look_up, round_away
from mobilequant.quantizers.exact import rounded

#: The only output grid that SOFTMAX has.
SOFTMAX_GRID = Grid(np.float32(1 / 256), np.float32(-128))


def mean(x, grid: Grid, output: Grid, axes, keepdims: bool):
    """MEAN over any dimensions but the batch.

    Computed as the device does from raw sums Σq, the zero point in a constant of its own.
    """
    count = math.prod(x.shape[axis] for axis in axes)
    scale = rounded((grid.scale / output.scale) * float(np.float32(1 / count)))
    zero_points = grid.zero_point * float(count)
    if count * LARGEST_CENTRED < 2**24:
        total = ops.sum(x, axis=axes, keepdims=keepdims) + zero_points
    else:
        raw = ops.cast(x + grid.zero_point, "int32")
        total = ops.cast(ops.sum(raw, axis=axes, keepdims=keepdims), "float32")
    constant = output.zero_point - rounded(zero_points * scale)
    q = ops.round(rounded(total * scale) + constant)
    return ops.clip(q, SMALLEST, LARGEST) - output.zero_point


def softmax(x, grid: Grid, output: Grid = SOFTMAX_GRID, beta: float = 1.0):
    """SOFTMAX over the last dimension; other processors may differ by a step.

    Args:
        x: Centred integers.
        grid: Their grid.
        output: `SOFTMAX_GRID`.
        beta: Factor of the exponent.
    """
    scale = grid.scale * float(np.float32(beta))
    exponentials = in_double(ops.exp, -np.arange(256, dtype="float32") * scale)
    distance = ops.max(x, axis=-1, keepdims=True) - x
    e = look_up(exponentials, distance)
    # The device adds one by one in float32: another order would round otherwise.
    total = ops.cumsum(e, axis=-1)[..., -1:]
    return saturate(round_away(e * (1.0 / (total * output.scale))), output)
