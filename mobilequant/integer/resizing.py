"""Resizing of images; input and output share one grid.

Where each output element looks is known from the sizes alone: the positions are NumPy arrays, and
the same float32 arithmetic as the device's makes them.
"""

from __future__ import annotations

import numpy as np
from keras import ops

_f32 = np.float32

#: Bits behind the point of the weights of RESIZE_BILINEAR, in each direction.
_BITS = 11


def resize_bilinear(x, size, *, align_corners: bool = False, half_pixel_centers: bool = False):
    """RESIZE_BILINEAR, in integers.

    Args:
        x: Centred integers, (batch, height, width, channels), of static height and width.
        size: Height and width of the output.
        align_corners: Whether the corners of input and output lie on one another.
        half_pixel_centers: Whether a pixel's place is its middle; Keras' way.
    """
    rows, columns = (
        _neighbours(n, m, align_corners, half_pixel_centers)
        for n, m in zip(x.shape[1:3], size, strict=True)
    )
    x = _mix(ops.cast(x, "int32"), *columns, axis=2)
    x = _mix(x, *rows, axis=1)
    rounded = ops.right_shift(x + 2 ** (2 * _BITS - 1), 2 * _BITS)
    return ops.cast(rounded, "float32")


def resize_nearest(x, size, *, align_corners: bool = False, half_pixel_centers: bool = False):
    """RESIZE_NEAREST_NEIGHBOR; arguments as `resize_bilinear`."""
    for axis, wanted in zip((1, 2), size, strict=True):
        places = _nearest(x.shape[axis], wanted, align_corners, half_pixel_centers)
        x = ops.take(x, places, axis=axis)
    return x


def _mix(x, before, after, weights, axis):
    """before + (after − before) · weight, with `_BITS` bits behind the point."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    left, right = ops.take(x, before, axis=axis), ops.take(x, after, axis=axis)
    return left * 2**_BITS + (right - left) * weights.reshape(shape)


def _neighbours(size, wanted, align_corners, half_pixel_centers):
    """For each output place the two input places beside it, and the second one's weight."""
    places = np.arange(wanted, dtype=_f32)
    adjustment = int(align_corners and wanted != 1)
    scale = _f32(size - adjustment) / _f32(wanted - adjustment)
    at = places * scale
    if half_pixel_centers:
        at = at + (_f32(0.5) * scale - _f32(0.5))
        at = np.clip(at, _f32(0), _f32(size - 1))
    before = np.minimum(at.astype(np.int32), size - 1)
    after = np.minimum(before + 1, size - 1)
    weights = np.rint((at - before.astype(_f32)) * _f32(2**_BITS)).astype(np.int32)
    return before, after, weights


def _nearest(size, wanted, align_corners, half_pixel_centers):
    corners = align_corners and wanted > 1
    scale = _f32(size - corners) / _f32(wanted - corners)
    at = (np.arange(wanted, dtype=_f32) + _f32(0.5 if half_pixel_centers else 0)) * scale
    # Half away from zero where corners are aligned; nothing here is negative.
    at = np.floor(at + _f32(0.5)) if align_corners else np.floor(at)
    return np.minimum(at.astype(np.int32), size - 1)
