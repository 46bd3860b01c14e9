"""Affine quantization: real = scale * (integer − zero point). The grid of activations.

arXiv:2409.09245, affine form: f(x) = (x − b_f) / s_f, q = f(x) + δ with δ detached, and
g(q) = Cov(x, q) / (Var(q) + λ) · (q − mean q) + mean x. TFLite keeps one scale and one integer
zero point a tensor and needs real zero to be exact, so b_f is moved onto the grid.
"""

from __future__ import annotations

import numpy as np
from keras import ops, quantizers

from mobilequant.quantizers.scheme import Scheme

#: A range is at least this wide; one of no width at all (a dead layer) is taken as 1 wide.
SMALLEST_RANGE = 1e-20


def integer_limits(bits: int) -> tuple[int, int]:
    """Smallest and largest integer of the affine set, signed: (−128, 127) for 8 bits."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


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


def fake_quantize_affine(x, batch_range, moving_range, mode, scheme: Scheme):
    """Quantizes and dequantizes one tensor with one scale, differentiably.

    LIVE, over the range of the batch. "denoise": the value is g(q), the gradient that of the
    three stages, statistics included, δ (which holds the clip) detached. "ste": the value is
    x̂ = s_f·(q − z), the gradient 1; nothing lies outside the range. FROZEN, over the moving range:
    for both estimators x̂, which is what a device computes (g is the inverse of f), and the
    gradient is 1 inside the range and 0 outside. BYPASS: x.

    The range is a given of the scheme: no gradient flows to it. (At 8 bits it would reach two
    elements of the tensor and cost a third of a training step.)

    Args:
        x: float32 tensor.
        batch_range, moving_range: Pairs (low, high) of float32 scalars.
        mode: int32 scalar tensor, BYPASS, LIVE or FROZEN: chosen when it runs, not when traced.
        scheme: Bits, estimator and ridge; its grid must be "affine".

    Returns:
        Tensor of the shape of `x`.
    """
    is_frozen = ops.equal(mode, FROZEN)
    low, high = (
        ops.stop_gradient(ops.where(is_frozen, moving, batch))
        for moving, batch in zip(moving_range, batch_range, strict=True)
    )
    scale, zero_point = affine_grid(low, high, scheme.bits)
    smallest, largest = integer_limits(scheme.bits)
    start, stop = (smallest - zero_point) * scale, (largest - zero_point) * scale
    return _fake_quantize(scheme)(x, start, stop, scale, mode)


def _fake_quantize(scheme: Scheme):
    """The differentiable function for a scheme; its branches lie inside, where they are cheap.

    (Differentiating *through* a branch makes TensorFlow trace for minutes.)
    """
    denoise = scheme.estimator == "denoise"

    @ops.custom_gradient
    def fake_quantize(x, start, stop, scale, mode):
        # x̂, in one native pass on TensorFlow, from `keras.ops` elsewhere.
        x_hat = quantizers.fake_quant_with_min_max_vars(x, start, stop, num_bits=scheme.bits)

        def bypassed():
            return x, ops.zeros((4,))

        def live():
            slope, mean_x, mean_hat, regularized = _regress(x, x_hat, scale, scheme.ridge)
            statistics = ops.stack([slope, mean_x, mean_hat, regularized])
            return slope * x_hat + (mean_x - slope * mean_hat), statistics

        def on_grid():
            return x_hat, ops.zeros((4,))

        y, statistics = ops.switch(mode, [bypassed, live if denoise else on_grid, on_grid])

        def grad(*upstream):
            (g,) = upstream

            def pass_through():
                return ops.convert_to_tensor(g)

            def through_statistics():
                return _denoise_gradient(g, x, x_hat, statistics)

            def inside():
                # What the grid cannot reach was clipped.
                return ops.where(ops.logical_and(x >= start, x <= stop), g, 0.0)

            if denoise:
                dx = ops.switch(mode, [pass_through, through_statistics, inside])
            else:
                dx = ops.cond(ops.equal(mode, FROZEN), inside, pass_through)
            zero = ops.zeros_like(start)
            return dx, zero, zero, zero, ops.zeros_like(mode)

        return y, grad

    return fake_quantize


def _regress(x, x_hat, scale, ridge):
    """Ridge regression of x on x̂, which gives the g of the regression on q.

    a = Cov(x, x̂) / B with B = Var(x̂) + λ·s_f² and g = a·(x̂ − mean x̂) + mean x.

    Returns:
        a, mean x, mean x̂, B.
    """
    mean_x, mean_hat = ops.mean(x), ops.mean(x_hat)
    variance = ops.maximum(ops.mean(x_hat * x_hat) - mean_hat * mean_hat, 0.0)
    covariance = ops.mean(x * x_hat) - mean_x * mean_hat
    regularized = variance + ridge * scale * scale
    return covariance / regularized, mean_x, mean_hat, regularized


def _denoise_gradient(g, x, x_hat, statistics):
    """Closed form of the gradient of stages one to three; dx̂/dx = 1, since δ is detached.

    With κ = mean(G·(x̂ − mean x̂)) / B:
    a·G + (1 − a)·mean G + κ·((x − mean x) + (1 − 2a)·(x̂ − mean x̂)).
    """
    slope, mean_x, mean_hat, regularized = ops.unstack(statistics, 4)
    mean_g = ops.mean(g)
    kappa = (ops.mean(g * x_hat) - mean_g * mean_hat) / regularized
    by_hat = kappa * (1.0 - 2.0 * slope)
    constant = (1.0 - slope) * mean_g - kappa * mean_x - by_hat * mean_hat
    return slope * g + (kappa * x + (by_hat * x_hat + constant))
