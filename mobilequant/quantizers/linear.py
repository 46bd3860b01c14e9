"""Linear (symmetric) quantization: real = scale * integer. The grid of weights.

arXiv:2409.09245, linear form: f(x) = x / s_f, q = f(x) + δ with δ = round(f(x)) − f(x) detached,
g(q) = s_g · q with s_g = mean(q·x) / (mean(q²) + λ).
"""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from mobilequant.quantizers.exact import exact_sum
from mobilequant.quantizers.scheme import Scheme

#: Where every weight of a group is (almost) zero its scale would be zero too.
SMALLEST_RANGE = 1e-12


def largest_integer(bits: int) -> int:
    """Largest member of the linear integer set of `bits` bits (the smallest is its negative).

    1 bit: {−1, +1}; 2 bits: {−3, −1, +1, +3}; b ≥ 3: {−(2^(b−1) − 1), …, 2^(b−1) − 1}.
    """
    return {1: 1, 2: 3}.get(bits, 2 ** (bits - 1) - 1)


def nearest_integer(f, bits: int):
    """Nearest member of the linear integer set, clip included; ties to even (1 bit: 0 is +1).

    Args:
        f: float32 tensor of any shape, in units of the integers.
        bits: 1 to 8.
    """
    if bits == 1:
        return ops.where(f >= 0, ops.ones_like(f), -ops.ones_like(f))
    largest = largest_integer(bits)
    if bits == 2:
        return ops.clip(2.0 * ops.floor(f * 0.5) + 1.0, -largest, largest)
    return ops.clip(ops.round(f), -largest, largest)


def linear_scale(x, bits: int, axes):
    """s_f that maps the largest magnitude of every group onto the largest integer.

    Args:
        x: float32 tensor.
        bits: 1 to 8.
        axes: Dimensions that share a scale, or None for all.

    Returns:
        float32 tensor with `axes` kept as size 1.
    """
    largest = ops.max(ops.abs(x), axis=axes, keepdims=True)
    # Multiplying by a rounded reciprocal on purpose: compilers turn a division by a constant
    # into this, some of the time.
    return ops.maximum(largest, SMALLEST_RANGE) * float(np.float32(1 / largest_integer(bits)))


def fake_quantize_linear(x, scheme: Scheme, axes, on=True):
    """Quantizes and dequantizes, differentiably: what training computes with.

    "denoise": the gradient is that of the three stages with the noise detached, the scales s_f
    and s_g included. With G the upstream gradient, N elements to a scale, B = mean(q²) + λ and
    P = Σ G·q it is, through x, q and s_f in turn,

        ∂q = s_g·G + P·(x − 2·s_g·q) / (N·B),   dx = P·q / (N·B) + ∂q / s_f + ∂s_f,

    where ∂s_f reaches the largest element of the group. "ste": the value is s_f·q and the
    gradient 1; the range is that of `x`, so that nothing lies outside it.

    Args:
        x: float32 tensor.
        scheme: Bits, estimator and ridge; its grid must be "linear".
        axes: Dimensions that share a scale, or None for all.
        on: Boolean, Python's or a scalar tensor; where false, `x` comes back as it is.

    Returns:
        Tensor of the shape of `x`.
    """
    return _fake_quantize(scheme, axes)(x, ops.convert_to_tensor(on))


def _fake_quantize(scheme: Scheme, axes):
    def mean(v):
        return ops.mean(v, axis=axes, keepdims=True)

    @ops.custom_gradient
    def fake_quantize(x, on):
        s_f = linear_scale(x, scheme.bits, axes)
        q = nearest_integer(x / s_f, scheme.bits)
        if scheme.estimator == "ste":
            y = s_f * q
        else:
            regularized = mean(q * q) + scheme.ridge
            s_g = mean(q * x) / regularized
            y = s_g * q

        def grad(*upstream):
            (g,) = upstream
            no_gradient = ops.zeros_like(on)
            if scheme.estimator == "ste":
                return ops.convert_to_tensor(g), no_gradient
            weight = mean(g * q) / regularized
            by_q = s_g * g + weight * (x - 2.0 * s_g * q)
            by_s_f = -ops.sum(by_q * (x / s_f), axis=axes, keepdims=True) / s_f
            magnitude = ops.abs(x)
            is_largest = ops.cast(
                magnitude >= ops.max(magnitude, axis=axes, keepdims=True), x.dtype
            )
            is_largest = is_largest / ops.sum(is_largest, axis=axes, keepdims=True)
            by_range = is_largest * ops.sign(x) * by_s_f / largest_integer(scheme.bits)
            return ops.where(on, weight * q + by_q / s_f + by_range, g), no_gradient

        return ops.where(on, y, x), grad

    return fake_quantize


def quantize_linear(x, scheme: Scheme, axes):
    """The integers and scales of `fake_quantize_linear`, the same to the bit wherever they run.

    s_g is computed from integer sums: with d = round(2^k · δ), Σ q·x = s_f · (Σ q² − Σ q·δ), so
    that no sum of floats, whose order is free, decides a scale.

    Args:
        x: float32 tensor.
        scheme: Bits, estimator and ridge; its grid must be "linear".
        axes: Dimensions that share a scale, or None for all.

    Returns:
        integers: float32 tensor of whole numbers, of the shape of `x`.
        scale: float32 tensor, `axes` removed.
    """
    s_f = linear_scale(x, scheme.bits, axes)
    f = x / s_f
    q = nearest_integer(f, scheme.bits)
    group = tuple(range(len(x.shape))) if axes is None else tuple(a % len(x.shape) for a in axes)
    flat = ops.squeeze(s_f, axis=group)
    if scheme.estimator == "ste":
        return q, flat
    count = math.prod(x.shape[axis] for axis in group)
    inner = math.prod(x.shape[axis] for axis in group if axis != len(x.shape) - 1)
    largest = largest_integer(scheme.bits)
    # Noise is at most half a step (one step in the sets of 1 and 2 bits).
    fraction_bits = min(20, int(math.log2(2**31 / (inner * largest))) - 1)
    if fraction_bits < 1 or inner * largest**2 >= 2**31:
        raise ValueError(
            f"A weight tensor of shape {tuple(x.shape)} has {inner} elements to a scale, more "
            "than exact 32-bit sums hold; use granularity 'channel'."
        )
    integers = ops.cast(q, "int32")
    noise = ops.cast(ops.round((q - f) * float(2**fraction_bits)), "int32")
    square = exact_sum(integers * integers, group)
    cross = exact_sum(integers * noise, group) * float(2.0**-fraction_bits)
    return q, flat * ((square - cross) / (square + float(np.float32(count * scheme.ridge))))
