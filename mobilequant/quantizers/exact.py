"""Float arithmetic that gives the same bits eagerly, in a graph and under XLA.

What a quantized model computes in inference must be the integers that its file computes, whoever
runs the Keras side. Two things would break that. Compilers contract `a * b + c` into one
operation with one rounding, so a product that is added to something goes through `rounded`; so
does what is multiplied or added in an order that counts. And they add floats in any order, so sums
that decide a scale are taken over integers (`exact_sum`).
"""

from __future__ import annotations

import numpy as np
from keras import ops

_LARGEST = float(np.finfo(np.float32).max)


def rounded(product):
    """Returns `product` unchanged, as a value that no compiler fuses with what is done to it.

    Args:
        product: float32 tensor of finite values.
    """
    return ops.clip(product, -_LARGEST, _LARGEST)


def exact_sum(integers, axes):
    """Sums int32 integers exactly and returns float32, rounded once or twice, always alike.

    Args:
        integers: int32 tensor; over all `axes` but the last tensor dimension the sum must fit
            int32.
        axes: Dimensions to sum over, or None for all of them. Where the last dimension is among
            them, its sum is taken in two halves of 16 bits, which hold up to 32,767 terms.

    Returns:
        float32 tensor, the summed dimensions removed.
    """
    rank = len(integers.shape)
    axes = tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)
    inner = tuple(axis for axis in axes if axis != rank - 1)
    partial = ops.sum(integers, axis=inner) if inner else integers
    if rank - 1 not in axes:
        return ops.cast(partial, "float32")
    high = ops.right_shift(partial, 16)
    low = partial - ops.left_shift(high, 16)
    high = ops.cast(ops.sum(high, axis=-1), "float32")
    low = ops.cast(ops.sum(low, axis=-1), "float32")
    # The product with a power of two is exact, so that a fused multiply-add changes nothing.
    # `rounded`: TensorFlow takes sums of sums together in a graph, in an order of its own.
    return rounded(high * 65536.0 + low)
