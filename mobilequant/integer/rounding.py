"""Roundings and tables as LiteRT's kernels have them and `keras.ops` does not."""

from __future__ import annotations

import keras
from keras import ops

from mobilequant.quantizers.exact import rounded


def round_away(x):
    """Half away from zero.

    Args:
        x: float32, of magnitude below 2²³.
    """
    magnitude = rounded(ops.abs(x))
    # Not floor(|x| + 1/2): that sum may round up what lies just below a half.
    whole = ops.floor(magnitude)
    return ops.sign(x) * (whole + ops.cast(magnitude - whole >= 0.5, "float32"))


def divide_away(numerator, denominator):
    """Quotient of whole numbers, half away from zero as LiteRT's pooling has it.

    Args:
        numerator: float32 whole numbers or int32.
        denominator: int32, positive.
    """
    numerator = ops.cast(numerator, "int32")
    magnitude = ops.floor_divide(ops.abs(numerator) + denominator // 2, denominator)
    return ops.cast(ops.sign(numerator) * magnitude, "float32")


def in_double(function, x, **options):
    """A function of float32 computed in float64, where the backend has it, and rounded once."""
    if keras.backend.backend() == "jax":
        return function(x, **options)
    return ops.cast(function(ops.cast(x, "float64"), **options), "float32")


def look_up(table, indices):
    """Entries of a table of 256.

    Args:
        table: (256,).
        indices: float32 whole numbers of any shape, 0 to 255.
    """
    # NaN is no index, and one in an image must not end an evaluation with an error of `take`.
    return ops.take(table, ops.clip(ops.cast(indices, "int32"), 0, 255), axis=0)
