"""Quantization written down plainly, for `tf.GradientTape` and in NumPy, to compare ours with."""

import numpy as np
import tensorflow as tf

from mobilequant.quantizers import Scheme, range_of, step_count
from mobilequant.quantizers.integers import nearest_member


def value_and_gradient(function, x, upstream):
    """`function(x)` and its gradient as arrays."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y.numpy(), tape.gradient(y, x, tf.constant(upstream)).numpy()


def noise(to, value):
    """δ that takes `value` to `to`: no gradient flows through it."""
    return tf.stop_gradient(to - value)


def clipped(f, smallest, largest):
    """f within its ends; one at an end but for rounding is not clipped."""
    held = tf.clip_by_value(f, smallest, largest)
    return tf.where(tf.abs(f - held) <= 2**-20 * largest, f, held)


def three_stages(x, scheme: Scheme, axes, mask=None, ends=None):
    """arXiv:2409.09245 as it stands; "ste" and "lsq" in the same terms.

    Args:
        x: Tensor whose `axes` share a scale.
        scheme: How.
        axes: Dimensions, or None for all.
        mask: Which elements sparsity leaves.
        ends: The range, where it is not that of `x`.
    """
    affine, steps = scheme.grid == "affine", float(step_count(scheme))
    denoise = scheme.estimator == "denoise"
    sparse = x if mask is None else x + noise(x * mask, x)
    if ends is None:
        ends = range_of(sparse, scheme, axes, mask=mask)
        if not (denoise and scheme.range_gradient):
            ends = [tf.stop_gradient(end) for end in ends]
    low, high = ends
    s_f, b_f = ((high - low) / steps, low) if affine else (high / steps, 0.0)
    f = (sparse - b_f) / s_f
    nearest = nearest_member(f, scheme)
    if mask is not None:
        nearest = nearest * mask
    if scheme.clip_gradient:
        f = clipped(f, 0.0 if affine else -steps, steps)
    q = f + noise(nearest, f)
    if not denoise:
        return s_f * q + b_f

    def mean(values):
        return tf.reduce_mean(values, axes, keepdims=True)

    if affine:
        covariance = mean((x - mean(x)) * (q - mean(q)))
        variance = mean((q - mean(q)) ** 2)
        return covariance / (variance + scheme.ridge) * (q - mean(q)) + mean(x)
    return mean(q * x) / (mean(q * q) + scheme.ridge) * q


def blocks_of(shape, size):
    """The blocks of a weight tensor, as index lists into its rows: (weights, channels)."""
    count = int(np.prod(shape[:-1]))
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def three_stages_by_block(x, scheme: Scheme, mask=None):
    """`three_stages` on every block of every output channel."""
    rows = tf.reshape(x, (-1, x.shape[-1]))
    mask = None if mask is None else tf.reshape(mask, rows.shape)
    parts = [
        three_stages(
            tf.gather(rows, block),
            scheme,
            (0,),
            None if mask is None else tf.gather(mask, block),
        )
        for block in blocks_of(x.shape, scheme.block_size)
    ]
    return tf.reshape(tf.concat(parts, 0), x.shape)


def mask_by_hand(x, sparsity):
    """Which weights stay, one group of weights after the other."""
    mask = np.zeros(x.shape, "float32")
    if not isinstance(sparsity, str):
        dropped = int(np.floor(sparsity * x.size + 1e-3))
        mask.flat[np.argsort(np.abs(x), axis=None)[dropped:]] = 1
        return mask
    kept, of = map(int, sparsity.split(":"))
    inputs = x.shape[-2]
    for outer in np.ndindex(*x.shape[:-2]):
        for channel in range(x.shape[-1]):
            for start in range(0, inputs, of):
                group = np.abs(x[(*outer, slice(start, start + of), channel)])
                for index in np.argsort(-group, kind="stable")[:kept]:
                    mask[(*outer, start + index, channel)] = 1
    return mask
