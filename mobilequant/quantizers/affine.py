"""Affine quantization: real = scale * (integer − zero point). The grid of activations.

arXiv:2409.09245, affine form: f(x) = (x − b_f) / s_f, q = f(x) + δ with δ detached, and
g(q) = Cov(x, q) / (Var(q) + λ) · (q − mean q) + mean x. TFLite keeps one scale and one integer
zero point a tensor and needs real zero to be exact, so b_f is moved onto the grid.
"""

from __future__ import annotations

import functools

import numpy as np
from keras import ops, quantizers

from mobilequant.quantizers.integers import integer_limits
from mobilequant.quantizers.replicas import mean_over_replicas
from mobilequant.quantizers.scheme import Scheme
from mobilequant.quantizers.sharing import shared

#: A range is at least this wide; one of no width at all (a dead layer) is taken as 1 wide.
SMALLEST_RANGE = 1e-20

#: A variance below this share of the squared mean is rounding, and so is one below the second.
_RESOLUTION = 1e-6
_SMALLEST_VARIANCE = 1e-35
#: x̂ is not had back from a·x̂ + c where a is smaller.
_SMALLEST_SLOPE = 1e-3


def affine_grid(low, high, bits: int = 8):
    """Scale and integer zero point of a range; real zero lies on the grid.

    Args:
        low, high: float32 tensors, the ends of the range; it is widened to hold 0.
        bits: Bits of the integers.

    Returns:
        scale: float32, positive.
        zero_point: float32 whole number within `integer_limits(bits)`.
    """
    smallest, largest = integer_limits(bits)
    low = ops.minimum(low, 0.0)
    high = ops.maximum(high, 0.0)
    width = high - low
    width = ops.where(width > 0.0, ops.maximum(width, SMALLEST_RANGE), ops.ones_like(width))
    scale = width * float(np.float32(1 / (largest - smallest)))
    zero_point = ops.clip(ops.round(smallest - low / scale), smallest, largest)
    return scale, zero_point


#: Modes of `fake_quantize_affine`.
BYPASS, LIVE, FROZEN = 0, 1, 2


def fake_quantize_affine(x, batch_range, moving_range, mode, scheme: Scheme, *, sync=False):
    """Quantizes and dequantizes one tensor on a device's grid, differentiably.

    LIVE, over the range of the batch. "denoise": the value is g(q), the gradient that of the
    three stages, statistics included, δ (which holds the clip) detached. "ste": the value is
    x̂ = s_f·(q − z), the gradient 1. FROZEN, over the moving range: for both estimators x̂, which is
    what a device computes (g is the inverse of f), and the gradient is 1: what the range clips is
    noise like rounding. BYPASS: x.

    No gradient flows to the range. (At 8 bits it would reach two elements of the tensor and cost
    a third of a training step; `transform` has it, and clipped gradients.)

    Args:
        x: float32 tensor.
        batch_range, moving_range: Pairs (low, high) of float32 scalars.
        mode: int32 scalar tensor, BYPASS, LIVE or FROZEN: chosen when it runs, not when traced.
        scheme: Bits, estimator and ridge; its grid must be "affine".
        sync: Whether replicas each hold a part of `x`.

    Returns:
        Tensor of the shape of `x`.
    """
    ranges = ops.stack([*batch_range, *moving_range])
    y = _quantizer(scheme, sync)(ops.reshape(x, (-1,)), ranges, mode)
    return ops.reshape(y, ops.shape(x))


@functools.cache
def _quantizer(scheme: Scheme, sync):
    return shared(_over_range(scheme, sync), [(None,), (4,), ()], integers=(2,))


def _over_range(scheme, sync):
    differentiable = _differentiable(scheme, sync)

    def quantize(x, ranges, mode):
        batch_low, batch_high, moving_low, moving_high = ops.unstack(ops.stop_gradient(ranges), 4)
        is_frozen = ops.equal(mode, FROZEN)
        low = ops.where(is_frozen, moving_low, batch_low)
        high = ops.where(is_frozen, moving_high, batch_high)
        scale, zero_point = affine_grid(low, high, scheme.bits)
        smallest, largest = integer_limits(scheme.bits)
        start, stop = (smallest - zero_point) * scale, (largest - zero_point) * scale
        return differentiable(x, start, stop, scale, mode)

    return quantize


def _differentiable(scheme: Scheme, sync):
    """The differentiable function for a scheme.

    Its branch takes no sum: replicas could exchange nothing inside one.
    """

    def mean(values):
        return mean_over_replicas(values) if sync else ops.mean(values)

    @ops.custom_gradient
    def straight_through(x, start, stop, scale, mode):
        y = ops.cond(mode > BYPASS, lambda: _on_grid(x, start, stop, scheme), lambda: x)

        def grad(*upstream):
            g = ops.convert_to_tensor(upstream[0])
            zero = ops.zeros_like(start)
            return g, zero, zero, zero, ops.zeros_like(mode)

        return y, grad

    @ops.custom_gradient
    def denoise(x, start, stop, scale, mode):
        x_hat = _on_grid(x, start, stop, scheme)
        # Ridge regression of x on x̂, which gives the g of the regression on q:
        # a = Cov(x, x̂) / B with B = Var(x̂) + λ·s_f² and g = a·(x̂ − mean x̂) + mean x.
        mean_x, mean_hat = mean(x), mean(x_hat)
        variance = ops.maximum(mean(x_hat * x_hat) - mean_hat * mean_hat, 0.0)
        regularized = variance + scheme.ridge * scale * scale
        # Of what float32 cannot tell from a constant (nor its squares hold) y is the mean, a = 0.
        known = variance > ops.maximum(_RESOLUTION * mean_hat * mean_hat, _SMALLEST_VARIANCE)
        regularized = ops.where(known, regularized, 1.0)
        slope = ops.where(known, (mean(x * x_hat) - mean_x * mean_hat) / regularized, 0.0)
        slope = ops.where(slope > _SMALLEST_SLOPE, slope, 0.0)
        live = ops.cast(ops.equal(mode, LIVE), "float32")
        a = 1.0 + live * (slope - 1.0)
        c = live * (mean_x - slope * mean_hat)
        y = ops.cond(mode > BYPASS, lambda: a * x_hat + c, lambda: x)

        def grad(*upstream):
            # Closed form of the gradient of stages one to three; dx̂/dx = 1, since δ is detached.
            # With κ = mean(G·(x̂ − mean x̂)) / B:
            # a·G + (1 − a)·mean G + κ·((x − mean x) + (1 − 2a)·(x̂ − mean x̂)).
            # x̂ is had back from y, which the next operator keeps anyway: x̂ = (y − c) / a.
            g = ops.convert_to_tensor(upstream[0])
            inverse = live * ops.where(a > 0.0, 1.0 / a, 0.0)
            mean_g = mean(g)
            mean_gh = (mean(g * y) - c * mean_g) * inverse
            kappa = (mean_gh - mean_hat * mean_g) / regularized
            kappa = ops.where(inverse > 0.0, kappa, 0.0)
            by_hat = kappa * (1.0 - 2.0 * a)
            constant = live * (1.0 - a) * mean_g - kappa * mean_x - by_hat * mean_hat
            by_y, constant = by_hat * inverse, constant - by_hat * c * inverse
            dx = a * g + (kappa * x + (by_y * y + constant))
            zero = ops.zeros_like(start)
            return dx, zero, zero, zero, ops.zeros_like(mode)

        return y, grad

    return denoise if scheme.estimator == "denoise" else straight_through


def _on_grid(x, start, stop, scheme):
    """x̂, in one native pass on TensorFlow, from `keras.ops` elsewhere."""
    return quantizers.fake_quant_with_min_max_vars(x, start, stop, num_bits=scheme.bits)
