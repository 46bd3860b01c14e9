"""Operators that only move integers; input and output share one grid.

Transposition, concatenation, slices, padding (with centred zeros) and reshaping are `keras.ops`
themselves on centred integers; here is what `keras.ops` does not have.
"""

from __future__ import annotations

from keras import ops


def depth_to_space(x, block: int):
    """DEPTH_TO_SPACE: blocks of block² channels become squares of pixels.

    Args:
        x: (batch, height, width, block² · channels), of static shape but for the batch.
        block: Size of the squares.
    """
    height, width, depth = x.shape[1:]
    x = ops.reshape(x, (-1, height, width, block, block, depth // block**2))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height * block, width * block, depth // block**2))


def space_to_depth(x, block: int):
    """SPACE_TO_DEPTH, the inverse of `depth_to_space`."""
    height, width, channels = x.shape[1:]
    x = ops.reshape(x, (-1, height // block, block, width // block, block, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height // block, width // block, block**2 * channels))
