"""Batch normalization of a stock Keras layer's variables, freezable by a variable, in few passes.

Training cost is memory traffic: Keras' layer is differentiated step by step, which reads and
writes the activations about twice as often as the closed form of the gradient does
(arXiv:1502.03167, section 3).
"""

from __future__ import annotations

import math

from keras import ops

from mobilequant.layers.variables import read
from mobilequant.quantizers.exact import rounded


def inference_factors(normalization, bias):
    """Batch normalization in inference as y·factor + offset.

    Args:
        normalization: A built `keras.layers.BatchNormalization` over the last dimension.
        bias: Bias of the operator before it, or None.

    Returns:
        factor, offset: float32, one a channel; the same bits in every execution mode.
    """
    gamma, beta = _gamma_beta(normalization)
    mean = read(normalization.moving_mean)
    variance = read(normalization.moving_variance)
    # `rounded`: compilers rewrite a / sqrt(b) as a · rsqrt(b), which has other bits.
    factor = gamma / rounded(ops.sqrt(variance + normalization.epsilon))
    shift = -mean if bias is None else bias - mean
    return factor, rounded(shift * factor) + beta


def batch_normalize(y, normalization, frozen):
    """Batch normalization in training.

    Args:
        y: float32 tensor, channels last.
        normalization: A built `keras.layers.BatchNormalization`; its moving statistics follow.
            Where it is not trainable, they are what it normalizes with, as in Keras.
        frozen: Boolean scalar tensor: use the moving statistics and leave them alone.
    """
    gamma, beta = _gamma_beta(normalization)
    moving_mean = read(normalization.moving_mean)
    moving_variance = read(normalization.moving_variance)
    if not normalization.trainable:
        factor = gamma * ops.rsqrt(moving_variance + normalization.epsilon)
        return y * factor + (beta - moving_mean * factor)
    axes = list(range(len(y.shape) - 1))
    mean, variance = ops.moments(ops.stop_gradient(y), axes)
    step = ops.where(frozen, 0.0, 1.0 - normalization.momentum)
    normalization.moving_mean.assign(moving_mean + (mean - moving_mean) * step)
    normalization.moving_variance.assign(moving_variance + (variance - moving_variance) * step)
    return _normalize(
        y,
        gamma,
        beta,
        ops.where(frozen, moving_mean, mean),
        ops.rsqrt(ops.where(frozen, moving_variance, variance) + normalization.epsilon),
        # How far the statistics depend on y.
        ops.where(frozen, 0.0, 1.0),
    )


@ops.custom_gradient
def _normalize(y, gamma, beta, mean, inverse, live):
    """(y − mean)·inverse·gamma + beta, mean and inverse being those of y where `live` is 1."""
    axes = tuple(range(len(y.shape) - 1))
    factor = gamma * inverse

    def grad(*upstream):
        (g,) = upstream
        count = ops.cast(ops.size(g), g.dtype) / g.shape[-1]
        sum_g = ops.sum(g, axis=axes)
        # Sum of g times the normalized values.
        sum_gn = (_sum_product(g, y, axes) - mean * sum_g) * inverse
        by_y = -live * factor * sum_gn * inverse / count
        constant = -live * factor * sum_g / count - by_y * mean
        dy = g * factor + (y * by_y + constant)
        zeros = ops.zeros_like(mean)
        return dy, sum_gn, sum_g, zeros, zeros, ops.zeros_like(live)

    return y * factor + (beta - mean * factor), grad


def _sum_product(a, b, axes):
    return ops.sum(a * b, axis=axes)


def _gamma_beta(normalization):
    size = math.prod(normalization.moving_mean.shape)
    gamma = read(normalization.gamma) if normalization.scale else ops.ones((size,))
    beta = read(normalization.beta) if normalization.center else ops.zeros((size,))
    return gamma, beta
