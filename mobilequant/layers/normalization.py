"""Batch normalization of a stock Keras layer's variables, freezable by a variable, in few passes.

Training cost is memory traffic: Keras' layer is differentiated step by step, which reads and
writes the activations about twice as often as the closed form of the gradient does
(arXiv:1502.03167, section 3).
"""

from __future__ import annotations

import functools
import math

from keras import ops

from mobilequant.layers.variables import read
from mobilequant.quantizers.exact import rounded
from mobilequant.quantizers.replicas import (
    mean_over_replicas,
    replica_count,
    sum_over_replicas,
)


def inference_factors(normalization, bias, y=None):
    """Batch normalization in inference as y·factor + offset.

    Args:
        normalization: A built `keras.layers.BatchNormalization` over the last dimension.
        bias: Bias of the operator before it, or None.
        y: What the operator gives, before the bias, to be normalized by its own statistics; None
            for the moving ones.

    Returns:
        factor, offset: float32, one a channel; the same bits in every execution mode.
    """
    gamma, beta = _gamma_beta(normalization)
    if y is None:
        mean, variance = read(normalization.moving_mean), read(normalization.moving_variance)
    else:
        mean, variance = ops.moments(y, list(range(len(y.shape) - 1)))
        bias = None
    # `rounded`: compilers rewrite a / sqrt(b) as a · rsqrt(b), which has other bits.
    factor = gamma / rounded(ops.sqrt(variance + normalization.epsilon))
    shift = -mean if bias is None else bias - mean
    return factor, rounded(shift * factor) + beta


def batch_normalize(y, normalization, frozen, factor=1.0):
    """Batch normalization in training.

    Args:
        y: float32 tensor, channels last.
        normalization: A built `keras.layers.BatchNormalization`; its moving statistics follow.
            Where it is not trainable, they are what it normalizes with, as in Keras. Under
            `tf.distribute` a replica normalizes with its own part of the batch, as in Keras, or
            with all of it if the layer is `synchronized`.
        frozen: Boolean scalar tensor: use the moving statistics and leave them alone.
        factor: What the result is multiplied by.
    """
    gamma, beta = _gamma_beta(normalization)
    if factor != 1.0:
        gamma, beta = gamma * factor, beta * factor
    moving_mean = read(normalization.moving_mean)
    moving_variance = read(normalization.moving_variance)
    if not normalization.trainable:
        factor = gamma * ops.rsqrt(moving_variance + normalization.epsilon)
        return y * factor + (beta - moving_mean * factor)
    axes = list(range(len(y.shape) - 1))
    (mean, variance), followed = _moments(ops.stop_gradient(y), axes, normalization.synchronized)
    step = ops.where(frozen, 0.0, 1.0 - normalization.momentum)
    normalization.moving_mean.assign(moving_mean + (followed[0] - moving_mean) * step)
    normalization.moving_variance.assign(moving_variance + (followed[1] - moving_variance) * step)
    return _normalize(normalization.synchronized)(
        y,
        gamma,
        beta,
        ops.where(frozen, moving_mean, mean),
        ops.rsqrt(ops.where(frozen, moving_variance, variance) + normalization.epsilon),
        # How far the statistics depend on y.
        ops.where(frozen, 0.0, 1.0),
    )


def _moments(y, axes, synchronized):
    """(mean, variance) to normalize with, and those that the moving statistics follow."""
    if replica_count() == 1:
        moments = ops.moments(y, axes)
        return moments, moments
    if synchronized:
        mean = mean_over_replicas(y, axes)
        moments = mean, mean_over_replicas(ops.square(y - mean), axes)
        return moments, moments
    # The moving statistics must be the same on all replicas, whatever each normalizes with.
    count = _count(y)
    # A replica may get nothing of the last batch.
    moments = [ops.where(count > 0.0, value, 0.0) for value in ops.moments(y, axes)]
    *totals, count = sum_over_replicas(*[value * count for value in moments], count)
    return moments, [total / count for total in totals]


@functools.cache
def _normalize(synchronized):
    """The differentiable function, its statistics being those of all replicas or of its own."""

    @ops.custom_gradient
    def normalize(y, gamma, beta, mean, inverse, live):
        """(y − mean)·inverse·gamma + beta, mean and inverse being those of y where `live` is 1."""
        axes = tuple(range(len(y.shape) - 1))
        factor = gamma * inverse

        def grad(*upstream):
            (g,) = upstream
            sum_g = ops.sum(g, axis=axes)
            # Sum of g times the normalized values.
            sum_gn = (ops.sum(g * y, axis=axes) - mean * sum_g) * inverse
            all_g, all_gn, count = sum_g, sum_gn, _count(g)
            if synchronized:
                all_g, all_gn, count = sum_over_replicas(sum_g, sum_gn, count)
            by_y = -live * factor * all_gn * inverse / count
            constant = -live * factor * all_g / count - by_y * mean
            dy = g * factor + (y * by_y + constant)
            zeros = ops.zeros_like(mean)
            return dy, sum_gn, sum_g, zeros, zeros, ops.zeros_like(live)

        return y * factor + (beta - mean * factor), grad

    return normalize


def _count(y):
    """Elements of a channel."""
    return ops.cast(ops.size(y), y.dtype) / y.shape[-1]


def _gamma_beta(normalization):
    size = math.prod(normalization.moving_mean.shape)
    gamma = read(normalization.gamma) if normalization.scale else ops.ones((size,))
    beta = read(normalization.beta) if normalization.center else ops.zeros((size,))
    return gamma, beta
