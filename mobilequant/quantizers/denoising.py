"""The denoising dequantization transform and its baselines, for every scheme.

arXiv:2409.09245, in three stages on groups of elements that share a scale:

1. f(x) = (x − b_f) / s_f, the range [low, high] onto the integers (linear: b_f = 0);
2. q = f(x) + δ, δ = round(f(x)) − f(x) detached, round() being the nearest member of the set, so
   that δ holds the clip as well; sparsity comes first, x_S = x + δ_S, and is noise as well;
3. g(q), the ridge regression of x on q:
   affine: g(q) = s_f · (a·(q − mean q) + mean f) + b_f, a = Cov(f, q) / (Var(q) + λ);
   linear: g(q) = s_f · a · q, a = mean(f·q) / (mean(q²) + λ).

Here f and not x is regressed, which is the same and keeps every sum in the order of the integers.
"""

from __future__ import annotations

import functools
import math

from keras import ops, tree

from mobilequant.quantizers.integers import nearest_member, step_count
from mobilequant.quantizers.ranges import group_axes, range_of
from mobilequant.quantizers.replicas import mean_over_replicas
from mobilequant.quantizers.scheme import Scheme
from mobilequant.quantizers.sharing import shared
from mobilequant.quantizers.sparsity import sparsity_mask

#: Var(q) + λ of a group without variance, with λ = 0.
_SMALLEST_REGULARIZED = 1e-12

#: What divisions may add to the f of an element at the very end of the range: it is not clipped.
_ROUNDING = 2.0**-20


def fake_quantize(x, scheme: Scheme, *, learned=None, share=None, on=True):
    """Quantizes and dequantizes weights, differentiably.

    The gradient of "denoise" equals automatic differentiation of the three stages with δ and δ_S
    detached; of "ste" it is 1, or 0 where the range clips and the scheme says so; of "lsq" that
    of arXiv:1902.08153, eq. 3 and 5.

    Args:
        x: Weights, output channels last, the input dimension before it; any float type.
        scheme: How.
        learned: Pair (low, high) where the scheme's range is learned, shaped as `range_of` gives.
        share: Scalar tensor, the share of zeros now; see `sparsity_mask`.
        on: Boolean, Python's or a scalar tensor; where false, `x` comes back as it is.

    Returns:
        Tensor of shape and type of `x`.
    """
    values = ops.cast(x, "float32")
    mask = None if scheme.sparsity is None else sparsity_mask(values, scheme, share)
    on = ops.cast(on, "float32")

    def quantized(part, axes, part_mask):
        low, high = learned or weight_range(part, scheme, axes, part_mask)
        return transform(part, scheme, axes, low, high, mask=part_mask, on=on)[0]

    return ops.cast(_by_group(quantized, values, scheme, mask), x.dtype)


def levels(x, scheme: Scheme, *, learned=None, share=None):
    """The whole numbers q that `fake_quantize` dequantizes; without gradient.

    Args:
        x, scheme, learned, share: As for `fake_quantize`.

    Returns:
        float32 tensor of the shape of `x`: members of the scheme's integer set, 0 where sparsity
        drops a weight. Of weights that stay in float, 1 where one stays and 0 where it is dropped.
    """
    values = ops.stop_gradient(ops.cast(x, "float32"))
    mask = None if scheme.sparsity is None else sparsity_mask(values, scheme, share)
    if not scheme.quantized:
        return ops.ones_like(values) if mask is None else mask

    def whole_numbers(part, axes, part_mask):
        low, high = learned or weight_range(part, scheme, axes, part_mask)
        return _stages_one_and_two(part, scheme, low, high, part_mask)[-1]

    return _by_group(whole_numbers, values, scheme, mask)


def _by_group(function, x, scheme, mask):
    """`function(part, axes, mask)` of what shares scales, put together in the shape of `x`."""
    if scheme.granularity != "block":
        return function(x, group_axes(len(x.shape), scheme.granularity), mask)
    parts = to_blocks(x, scheme.block_size)
    masks = [None] * len(parts) if mask is None else to_blocks(mask, scheme.block_size)
    done = [function(part, (-2,), own) for part, own in zip(parts, masks, strict=True)]
    return from_blocks(done, x.shape)


def weight_range(x, scheme, axes, mask=None):
    """The range of weights, with or without gradient as the scheme says."""
    if scheme.estimator != "denoise" or not scheme.range_gradient:
        x = ops.stop_gradient(x)
    return range_of(x if mask is None else x * mask, scheme, axes, mask=mask)


def to_blocks(x, size):
    """Weights as blocks of consecutive ones of an output channel.

    Returns:
        A list: (blocks, size, channels) of the full blocks, and (rest, channels) of what is left,
        whichever there are.
    """
    flat = ops.reshape(x, (-1, x.shape[-1]))
    full = flat.shape[0] // size * size
    parts = []
    if full:
        parts.append(ops.reshape(flat[:full], (full // size, size, x.shape[-1])))
    if full < flat.shape[0]:
        parts.append(flat[full:])
    return parts


def from_blocks(parts, shape):
    """The inverse of `to_blocks`."""
    flat = [ops.reshape(part, (-1, shape[-1])) for part in parts]
    return ops.reshape(flat[0] if len(flat) == 1 else ops.concatenate(flat, axis=0), shape)


def transform(
    x, scheme: Scheme, axes, low, high, *, mask=None, on=1.0, live=1.0, given=None, sync=False
):
    """The three stages over a given range, in one custom gradient.

    Args:
        x: float32 tensor.
        scheme: Integers, estimator, ridge, clipping.
        axes: Dimensions that share a scale, or None for all.
        low, high: The range, `axes` kept as size 1; the gradient reaches both.
        mask: Ones and zeros of the shape of `x`, or None.
        on: float32 scalar tensor; 0: `x` comes back as it is.
        live: float32 scalar tensor; 0: dequantizes with `given` instead of the regression.
        given: Pair (slope, offset), shaped like `low`; needed where `live` may be 0.
        sync: Whether replicas each hold a part of `x`.

    Returns:
        y: Tensor of the shape of `x`.
        slope, offset: y = slope·q + offset, shaped like `low`.
    """
    given = given or (ops.ones_like(low), ops.zeros_like(low))
    numbers = [ops.cast(ops.convert_to_tensor(v), "float32") for v in (on, live)]
    tensors = [x] if mask is None else [x, mask]
    tensors = [ops.reshape(tensor, _grouped(x.shape, axes)) for tensor in tensors]
    ends = [ops.reshape(v, _grouped(low.shape, axes)) for v in (low, high, *given)]
    quantize = _quantizer(scheme, mask is not None, sync)
    y, slope, offset = quantize(tensors[0], *ends, *numbers, *tensors[1:])
    return (
        ops.reshape(y, ops.shape(x)),
        ops.reshape(slope, ops.shape(low)),
        ops.reshape(offset, ops.shape(low)),
    )


def _grouped(shape, axes):
    """The shape (groups, elements that share a scale, groups) of a tensor of some shape.

    Args:
        shape: The first dimension may be unknown.
        axes: Neighbouring dimensions, or None for all.
    """
    axes = range(len(shape)) if axes is None else sorted(axis % len(shape) for axis in axes)
    parts = shape[: axes[0]], shape[axes[0] : axes[-1] + 1], shape[axes[-1] + 1 :]
    return tuple(-1 if None in part else math.prod(part) for part in parts)


@functools.cache
def _quantizer(scheme: Scheme, masked, sync):
    tensor, end = (None, None, None), (None, 1, None)
    masks = [tensor] if masked else []
    return shared(_differentiable(scheme, sync), [tensor, *[end] * 4, (), (), *masks])


def _differentiable(scheme: Scheme, sync):
    """The differentiable function of a scheme on tensors of `_grouped` shape."""
    affine = scheme.grid == "affine"
    denoise = scheme.estimator == "denoise"
    steps = float(step_count(scheme))

    def mean(values):
        average = mean_over_replicas if sync else ops.mean
        return average(values, 1, keepdims=True)

    def total(values):
        return ops.sum(values, axis=1, keepdims=True)

    def regress(f, q):
        """a, mean f, mean q, Var(q) + λ; the means are those of an affine grid."""
        if not affine:
            regularized = ops.maximum(mean(q * q) + scheme.ridge, _SMALLEST_REGULARIZED)
            return mean(f * q) / regularized, 0.0, 0.0, regularized
        mean_f, mean_q = mean(f), mean(q)
        variance = ops.maximum(mean(q * q) - mean_q * mean_q, 0.0)
        regularized = ops.maximum(variance + scheme.ridge, _SMALLEST_REGULARIZED)
        return (mean(f * q) - mean_f * mean_q) / regularized, mean_f, mean_q, regularized

    @ops.custom_gradient
    def quantize(x, low, high, given_slope, given_offset, on, live, *masks):
        scale, f, _, q = _stages_one_and_two(x, scheme, low, high, *masks)
        start = low if affine else ops.zeros_like(low)
        if denoise:
            slope, mean_f, mean_q, regularized = regress(f, q)
            a = ops.where(live > 0.0, slope, given_slope / scale)
            offset = start + scale * (mean_f - a * mean_q)
            offset = ops.where(live > 0.0, offset, given_offset)
        else:
            # A group of no range dequantizes to its one value, whatever its integers say.
            a = ops.cast(high > start, "float32")
            offset = start
        y = (scale * a) * q
        y = ops.where(on > 0.0, y + offset if affine else y, x)

        def grad(*upstream):
            # TensorFlow hands over one gradient an output, JAX one tuple of them all.
            g = ops.convert_to_tensor(tree.flatten(upstream)[0])
            # f and q are computed again: two tensors of the size of x less to keep.
            _, f, sparse, q = _stages_one_and_two(x, scheme, low, high, *masks)
            if denoise:
                by_q, direct, by_ridge = through_regression(g, f, q)
            else:
                by_q, direct, by_ridge = g, 0.0, 0.0
            dx, by_scale, by_low = through_noise(by_q, sparse, q)
            by_scale = ops.where(high > (low if affine else 0.0), by_scale + by_ridge, 0.0)
            by_high = by_scale / steps * on
            by_low = by_low * on - by_high if affine else ops.zeros_like(low)
            dx = ops.where(on > 0.0, dx + direct, g)
            rest = (given_slope, given_offset, on, live, *masks)
            return dx, by_low, by_high, *(ops.zeros_like(v) for v in rest)

        def through_regression(g, f, q):
            """What reaches q, what reaches x without passing q, and what reaches s_f by λ."""
            mean_g = mean(g) * live if affine else 0.0
            centred = q - mean_q if affine else q
            kappa = mean(g * centred) / regularized * live
            # (f − mean f) by way of f − q: small numbers, so that what must add up to zero does.
            noise = f - q
            centred_f = noise - mean(noise) + centred if affine else f
            by_q = a * (g - mean_g) + kappa * (centred_f - 2.0 * a * centred)
            count = ops.cast(ops.shape(f)[1], "float32")
            return by_q, mean_g + kappa * centred, -2.0 * scheme.ridge * count * kappa * a

        def through_noise(by_q, sparse, q):
            """What reaches x, s_f and b_f by q = f + δ; clipped elements stand at the ends."""
            if not scheme.clip_gradient:
                return by_q, total(by_q * (q - sparse)), ops.zeros_like(low)
            largest = steps * (1.0 + _ROUNDING)
            inside = ops.logical_and(sparse >= (0.0 if affine else -largest), sparse <= largest)
            by_scale = total(by_q * ops.where(inside, q - sparse, q))
            return (
                ops.where(inside, by_q, 0.0),
                by_scale,
                total(ops.where(inside, 0.0, by_q)) if affine else ops.zeros_like(low),
            )

        return (y, scale * a, offset), grad

    return quantize


def _stages_one_and_two(x, scheme, low, high, mask=None):
    """s_f, f (dense), f_S (sparse) and q."""
    affine, steps = scheme.grid == "affine", float(step_count(scheme))
    width = high - low if affine else high
    scale = ops.where(width > 0.0, width / steps, ops.ones_like(width))
    f = (x - low) / scale if affine else x / scale
    if mask is None:
        return scale, f, f, nearest_member(f, scheme)
    sparse = f * mask
    return scale, f, sparse, nearest_member(sparse, scheme) * mask
