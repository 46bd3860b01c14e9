"""Pooling over windows; input and output share one grid."""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from mobilequant.integer.grid import Grid
from mobilequant.integer.rounding import divide_away


def average_pool(x, grid: Grid, *, pool_size, strides, padding: str):
    """AVERAGE_POOL_2D: raw integers added, divided by the number of elements inside the image.

    Args:
        x: Centred integers, (batch, height, width, channels), of static height and width.
        grid: Grid of input and output.
        pool_size, strides: Whole numbers, two each.
        padding: "same" or "valid".
    """
    height, width = x.shape[1:3]
    raw = x + grid.zero_point
    # Means times their counts: whole numbers again once rounded, far below 2²⁴.
    means = ops.average_pool(
        raw, tuple(pool_size), tuple(strides), padding, data_format="channels_last"
    )
    counts = _counts((height, width), pool_size, strides, padding)
    totals = ops.round(means * counts.astype("float32"))
    return divide_away(totals, counts.astype("int32")) - grid.zero_point


def max_pool(x, *, pool_size, strides, padding: str):
    """MAX_POOL_2D; arguments as `average_pool`."""
    return ops.max_pool(x, tuple(pool_size), tuple(strides), padding, data_format="channels_last")


def _counts(size, pool_size, strides, padding) -> np.ndarray:
    """Elements of the image in each window, (1, height, width, 1)."""
    rows, columns = (
        _counts_along(n, window, stride, padding)
        for n, window, stride in zip(size, pool_size, strides, strict=True)
    )
    return (rows[:, None] * columns[None, :])[None, :, :, None]


def _counts_along(size, window, stride, padding) -> np.ndarray:
    if padding == "valid":
        return np.full((size - window) // stride + 1, window)
    outputs = math.ceil(size / stride)
    before = max((outputs - 1) * stride + window - size, 0) // 2
    starts = np.arange(outputs) * stride - before
    return np.minimum(starts + window, size) - np.maximum(starts, 0)
