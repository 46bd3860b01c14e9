"""The integers and scales of linear weights, the same to the bit wherever they are computed.

What training computes with floats (`fake_quantize`), a file needs as numbers on which eager
execution, graphs and XLA agree. No sum of floats, whose order is free, decides a scale here:
weights are cut into whole numbers first, and their sums are exact.
"""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from mobilequant.quantizers.exact import exact_sum, rounded
from mobilequant.quantizers.integers import largest_integer, nearest_integer
from mobilequant.quantizers.ranges import range_of
from mobilequant.quantizers.scheme import Scheme
from mobilequant.quantizers.sparsity import sparsity_mask

#: Where every weight of a group is (almost) zero its scale would be zero too.
SMALLEST_RANGE = 1e-12


def quantize_linear(x, scheme: Scheme, axes, *, learned=None, share=None):
    """The integers and scales of `fake_quantize`.

    Args:
        x: float32 weights, output channels last, the input dimension before it.
        scheme: Linear, with one scale a tensor or a channel.
        axes: Dimensions that share a scale, or None for all.
        learned: Pair (low, high) where the range is learned, `axes` kept as size 1.
        share: Scalar tensor, the share of zeros now; see `sparsity_mask`.

    Returns:
        integers: float32 tensor of whole numbers, of the shape of `x`.
        scale: float32 tensor, `axes` removed.
    """
    rank = len(x.shape)
    group = tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)
    sums = _ExactSums(x.shape, group, scheme)
    mask = None if scheme.sparsity is None else sparsity_mask(x, scheme, share)
    kept = x if mask is None else x * mask
    if scheme.range == "std":
        high = sums.root_mean_square(kept, mask) * float(np.float32(scheme.width))
        high = ops.minimum(high, ops.max(ops.abs(kept), axis=axes, keepdims=True))
    elif scheme.range == "learned":
        high = learned[1]
    else:
        _, high = range_of(kept, scheme, axes)
    # Multiplying by a rounded reciprocal on purpose: compilers turn a division by a constant
    # into this, some of the time.
    s_f = ops.maximum(high, SMALLEST_RANGE) * float(np.float32(1 / largest_integer(scheme.bits)))
    q = nearest_integer(kept / s_f, scheme.bits)
    q = q if mask is None else q * mask
    if scheme.estimator != "denoise":
        return q, ops.squeeze(s_f, axis=group)
    return q, sums.regression(x, q)


class _ExactSums:
    """Sums over the groups of one weight tensor, exact in int32."""

    def __init__(self, shape, group, scheme):
        self.group = group
        self.ridge = scheme.ridge
        self.count = math.prod(shape[axis] for axis in group)
        # The last dimension is summed in halves of its own, see `exact_sum`.
        self.inner = math.prod(shape[axis] for axis in group if axis != len(shape) - 1)
        self.largest = largest_integer(scheme.bits)
        # Bits of the parts that a weight is cut into: as many as sums of their products hold.
        self.square_bits = min(11, int(math.log2(2**31 / self.inner) / 2) - 1)
        self.product_bits = min(11, int(math.log2(2**31 / (self.inner * self.largest))) - 1)
        if min(self.square_bits, self.product_bits) < 2 or self.inner * self.largest**2 >= 2**31:
            raise ValueError(
                f"A weight tensor of shape {tuple(shape)} has {self.inner} elements to a scale, "
                "more than exact 32-bit sums hold; use granularity 'channel'."
            )

    def root_mean_square(self, x, mask):
        """√ of the mean square of the weights that stay."""
        unit, (high, low) = self._parts(x, self.square_bits)
        base = float(2**self.square_bits)
        square = self._sum(high * high) * (base * base)
        square = rounded(square + self._sum(high * low) * (2.0 * base))
        square = square + self._sum(low * low)
        # `rounded`: compilers rewrite a / sqrt(b) as a · rsqrt(b), which has other bits.
        if mask is None:
            mean = rounded(square * float(np.float32(1 / self.count)))
        else:
            mean = rounded(square / ops.maximum(self._sum(ops.cast(mask, "int32")), 1.0))
        # `rounded` again: TensorFlow gathers the constants of a chain of products in a graph.
        return rounded(unit * ops.expand_dims(rounded(ops.sqrt(mean)), self.group))

    def regression(self, x, q):
        """s_g = Σ q·x / (Σ q² + N·λ)."""
        unit, (high, low) = self._parts(x, self.product_bits)
        integers = ops.cast(q, "int32")
        product = self._sum(integers * high) * float(2**self.product_bits)
        product = product + self._sum(integers * low)
        square = self._sum(integers * integers) + float(np.float32(self.count * self.ridge))
        return ops.squeeze(unit, axis=self.group) * (product / ops.maximum(square, 1e-12))

    def _parts(self, x, bits):
        """x = unit · (high · 2^bits + low), rounded to whole numbers of `2 · bits` bits."""
        largest = ops.max(ops.abs(x), axis=self.group, keepdims=True)
        largest = ops.maximum(largest, SMALLEST_RANGE)
        whole = ops.cast(ops.round(rounded(x / largest) * float(4**bits)), "int32")
        high = ops.right_shift(whole, bits)
        return largest * float(0.25**bits), (high, whole - ops.left_shift(high, bits))

    def _sum(self, integers):
        return exact_sum(integers, self.group)
