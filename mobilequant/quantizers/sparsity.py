"""Which weights stay: N:M and unstructured sparsity by magnitude.

arXiv:2409.09245: sparsification is noise, x_S = x + δ_S with δ_S = threshold(x) − x detached. A
mask of zeros and ones says the same and takes no gradient.
"""

from __future__ import annotations

from keras import ops

from mobilequant.quantizers.scheme import Scheme, kept_of


def sparsity_mask(x, scheme: Scheme, share=None):
    """Ones where a weight stays, zeros where it is dropped.

    Args:
        x: float32 weights, output channels last and the input dimension before it; dimensions
            before that (height, width) repeat the pattern.
        scheme: Whose `sparsity` it is; not None.
        share: Scalar tensor, the share that is dropped now, where the scheme gives a share and it
            is ramping up; by default all of it.

    Returns:
        float32 tensor of the shape of `x`, without gradient. Of equal magnitudes the first stay
        in a group of M; those at an unstructured threshold stay all.
    """
    magnitude = ops.abs(ops.stop_gradient(ops.cast(x, "float32")))
    if isinstance(scheme.sparsity, str):
        return _largest_of_groups(magnitude, *kept_of(scheme.sparsity))
    return _largest(magnitude, scheme.sparsity if share is None else share)


def ramped_share(scheme: Scheme, step):
    """The share of zeros after so many training steps (arXiv:1710.01878, eq. 1, from 0).

    Args:
        scheme: With a share as `sparsity`, and a ramp.
        step: Scalar tensor, training steps done.
    """
    progress = ops.minimum(ops.cast(step, "float32") / float(scheme.sparsity_ramp), 1.0)
    return scheme.sparsity * (1.0 - (1.0 - progress) ** 3)


def _largest_of_groups(magnitude, kept, of):
    *outer, inputs, channels = magnitude.shape
    missing = -inputs % of
    padded = magnitude
    if missing:
        # Less than any magnitude: what is added is never kept before a weight.
        fill = ops.full((*outer, missing, channels), -1.0)
        padded = ops.concatenate([magnitude, fill], axis=-2)
    groups = ops.reshape(padded, (-1, (inputs + missing) // of, of, channels))
    mine, other = ops.expand_dims(groups, 3), ops.expand_dims(groups, 2)
    earlier = [[float(j < i) for j in range(of)] for i in range(of)]
    earlier = ops.reshape(ops.convert_to_tensor(earlier, "float32"), (1, 1, of, of, 1))
    ahead = ops.where(other > mine, 1.0, ops.where(other >= mine, earlier, 0.0))
    mask = ops.cast(ops.sum(ahead, axis=3) < kept, "float32")
    mask = ops.reshape(mask, (*outer, inputs + missing, channels))
    return mask[..., :inputs, :] if missing else mask


def _largest(magnitude, share):
    flat = ops.sort(ops.reshape(magnitude, (-1,)))
    count = flat.shape[0]
    dropped = ops.cast(ops.floor(share * float(count) + 1e-3), "int32")
    threshold = ops.take(flat, ops.clip(dropped, 0, count - 1))
    return ops.cast(magnitude >= threshold, "float32")
