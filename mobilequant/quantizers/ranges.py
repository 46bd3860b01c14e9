"""What a scheme's integers span: the range rules, one function each, differentiable as they stand.

A range is a pair (low, high), one for each group of elements that shares a scale, with the summed
dimensions kept as size 1. Of a linear grid low is −high.
"""

from __future__ import annotations

import numpy as np
from keras import ops, tree

from mobilequant.quantizers.replicas import (
    extremes_over_replicas,
    mean_over_replicas,
    replica_count,
    sum_over_replicas,
)
from mobilequant.quantizers.scheme import Scheme

_LARGEST = float(np.finfo(np.float32).max)
#: A variance below this is none: its root would have no finite gradient.
_SMALLEST_VARIANCE = 1e-30


def group_axes(rank: int, granularity: str):
    """Dimensions that share a scale: None for all, else all but the last (the channels)."""
    return None if granularity == "tensor" else tuple(range(rank - 1))


def range_of(x, scheme: Scheme, axes=None, *, mask=None, sync=False):
    """The range that a scheme takes for its integers; differentiable.

    "learned" gives where learning starts, "moving" what the moving average follows.

    Args:
        x: float32 tensor; where it is sparse, with the dropped elements 0.
        scheme: Says the rule.
        axes: Dimensions that share a scale, or None for all.
        mask: Ones and zeros, which elements stay; "std" is that of those that stay.
        sync: Whether replicas each hold a part of `x` (activations under `tf.distribute`).

    Returns:
        low, high: float32 tensors with `axes` kept as size 1.
    """
    rules = {"std": _deviations, "percentile": _percentile, "learned": _start}
    return rules.get(scheme.range, _extremes)(x, scheme, axes, mask, sync)


def _start(x, scheme, axes, mask, sync):
    """Where learning starts: at 8 bits all elements, with less what "std" takes."""
    rule = _extremes if scheme.bits == 8 and scheme.range_width is None else _deviations
    return rule(x, scheme, axes, mask, sync)


def _extremes(x, scheme, axes, mask, sync):
    if scheme.grid == "linear":
        high = ops.max(ops.abs(x), axis=axes, keepdims=True)
        if sync:
            _, high = extremes_over_replicas(high, high)
        return -high, high
    low = ops.min(x, axis=axes, keepdims=True)
    high = ops.max(x, axis=axes, keepdims=True)
    return extremes_over_replicas(low, high) if sync else (low, high)


def _deviations(x, scheme, axes, mask, sync):
    def mean(values):
        average = mean_over_replicas if sync else ops.mean
        return average(values, axes, keepdims=True)

    if scheme.grid == "linear":
        square = mean(x * x)
        if mask is not None:
            square = square / ops.maximum(mean(mask), 1e-12)
        _, largest = _extremes(x, scheme, axes, mask, sync)
        high = ops.minimum(scheme.width * _root(square), largest)
        return -high, high
    middle = mean(x)
    if sync and replica_count() > 1:
        variance = mean(ops.square(x - middle))
    else:
        variance = _mean_square(axes)(x, middle)
    deviation = scheme.width * _root(variance)
    low, high = _extremes(x, scheme, axes, mask, sync)
    return ops.maximum(middle - deviation, low), ops.minimum(middle + deviation, high)


def _mean_square(axes):
    """Mean of (x − middle)², whose gradient keeps nothing of the size of x but x itself."""

    @ops.custom_gradient
    def mean_square(x, middle):
        def grad(*upstream):
            g = ops.convert_to_tensor(tree.flatten(upstream)[0])
            count = ops.cast(ops.size(x), x.dtype) / ops.cast(ops.size(g), x.dtype)
            by_x = (x - middle) * (g * (2.0 / count))
            return by_x, -ops.sum(by_x, axis=axes, keepdims=True)

        return ops.mean(ops.square(x - middle), axis=axes, keepdims=True), grad

    return mean_square


def _percentile(x, scheme, axes, mask, sync):
    def at(values, share):
        rank = len(values.shape)
        axis = tuple(range(rank)) if axes is None else tuple(a % rank for a in axes)
        kept = tuple(a for a in range(rank) if a not in axis)
        last = ops.transpose(values, (*kept, *axis))
        ordered = ops.sort(ops.reshape(last, (*[values.shape[a] for a in kept], -1)), axis=-1)
        count = ops.cast(ops.shape(ordered)[-1], "float32")
        index = ops.cast(ops.round(share * (count - 1.0)), "int32")
        shape = [1 if a in axis else size for a, size in enumerate(values.shape)]
        chosen = ops.reshape(ops.take(ordered, index, axis=-1), shape)
        if not sync or replica_count() == 1:
            return chosen
        # The mean of the replicas' own: the true one would need all elements in one place.
        total, count = sum_over_replicas(chosen * count, count)
        return total / count

    if scheme.grid == "linear":
        high = at(ops.abs(x), scheme.width)
        return -high, high
    # As many elements below the range as above it.
    return at(x, (1.0 - scheme.width) / 2), at(x, (1.0 + scheme.width) / 2)


def _root(square):
    """√ with a finite gradient at 0 and for squares that overflowed."""
    square = ops.minimum(square, _LARGEST)
    positive = square > _SMALLEST_VARIANCE
    return ops.where(positive, ops.sqrt(ops.where(positive, square, 1.0)), 0.0)
