"""Rounding that is learned: each weight goes to the integer above it or the one below it.

AdaRound (Nagel et al. 2020, arXiv:2004.10568): the nearest integer is not the best one, because
the errors of the weights of one output add up. A variable a weight says how far up it goes; it is
pulled to an end as training goes on.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from mobilequant.quantizers.integers import largest_integer

#: The sigmoid is stretched beyond 0 and 1 and cut there, so that its ends are reached
#: (arXiv:2004.10568, eq. 23).
_LOW, _HIGH = -0.1, 1.1

#: Steps that are tried, as shares of the one that holds the largest weight.
_SHARES = np.arange(1.0, 0.09, -0.02)


def least_error_step(weights, bits, mask=None):
    """The distance of two integers at which rounding to the nearest errs least, a channel each.

    Args:
        weights: float32 array, output channels last.
        bits: As in `Scheme`, linear.
        mask: Ones where a weight stays; all by default.

    Returns:
        float32 array, one number a channel. It never spans more than the largest weight, which
        so lies at the end of the grid or beyond it.
    """
    mask = np.ones_like(weights) if mask is None else mask
    axes = tuple(range(weights.ndim - 1))
    largest = largest_integer(bits)
    top = np.maximum(np.abs(weights * mask).max(axes), 1e-12) / largest
    best, error = top, None
    for share in _SHARES:
        step = top * share
        nearest = _nearest(weights / step, bits)
        found = np.square((nearest * step - weights) * mask).sum(axes)
        better = found < error if error is not None else np.ones_like(found, bool)
        best = np.where(better, step, best)
        error = found if error is None else np.minimum(found, error)
    return best.astype("float32")


def neighbours(f, bits):
    """The members of the linear integer set on both sides of each number.

    Args:
        f: float32 array in units of the integers.
        bits: As in `Scheme`.

    Returns:
        below: float32 array; the largest member that is not above `f`, but never the last one.
        gap: How much the member above it is larger.
        share: How far from the one to the other `f` lies, 0 to 1.
    """
    largest = largest_integer(bits)
    gap = 2.0 if bits in (1, 2) else 1.0
    f = np.clip(np.asarray(f, "float64"), -largest, largest)
    below = np.floor(f) if gap == 1 else 2 * np.floor((f - 1) / 2) + 1
    below = np.clip(below, -largest, largest - gap)
    return below.astype("float32"), gap, ((f - below) / gap).astype("float32")


def soft_share(variable):
    """How far up weights go, 0 to 1, of the variables that are trained (eq. 23)."""
    return ops.clip(ops.sigmoid(variable) * (_HIGH - _LOW) + _LOW, 0.0, 1.0)


def soft_start(share):
    """The variables at which `soft_share` gives these shares, which may not quite reach 0 or 1."""
    inside = np.clip((share - _LOW) / (_HIGH - _LOW), 0.0, 1.0)
    return np.log(inside / (1.0 - inside)).astype("float32")


def indecision(share, sharpness):
    """How many weights are on their way still: Σ 1 − |2h − 1|^β (eq. 24).

    Args:
        share: float32 tensor, h.
        sharpness: Scalar tensor, β: large, and only those halfway count; 2, and all do.
    """
    return ops.sum(1.0 - ops.power(ops.abs(2.0 * share - 1.0), sharpness))


def _nearest(f, bits):
    below, gap, share = neighbours(f, bits)
    return below + gap * (share >= 0.5)
