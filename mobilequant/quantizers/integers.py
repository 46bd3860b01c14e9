"""The integer sets of arXiv:2409.09245, and the nearest member of each."""

from __future__ import annotations

from keras import ops

from mobilequant.quantizers.scheme import FLOAT_BITS, TERNARY


def largest_integer(bits) -> int:
    """Largest member of the linear integer set of `bits` bits (the smallest is its negative).

    1 bit: {−1, +1}; 2 bits: {−3, −1, +1, +3}; ternary: {−1, 0, +1}; b ≥ 3:
    {−(2^(b−1) − 1), …, 2^(b−1) − 1}. Of float (32 bits), which is not rounded, the unit of 8 bits.
    """
    if bits == FLOAT_BITS:
        return 127
    return {1: 1, 2: 3, TERNARY: 1}.get(bits) or 2 ** (bits - 1) - 1


def integer_limits(bits: int) -> tuple[int, int]:
    """Smallest and largest integer of the affine set, signed: (−128, 127) for 8 bits."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def step_count(scheme) -> int:
    """Steps from the lowest to the highest member: what a range is divided into.

    For a linear grid from 0 to the largest one, in units of the integers.
    """
    if scheme.grid == "linear":
        return largest_integer(scheme.bits)
    return 2 ** (8 if scheme.bits == FLOAT_BITS else scheme.bits) - 1


def nearest_integer(f, bits):
    """Nearest member of the linear integer set, clip included; ties to even (1 bit: 0 is +1).

    Args:
        f: float32 tensor of any shape, in units of the integers.
        bits: As in `Scheme`.
    """
    if bits == FLOAT_BITS:
        return f
    if bits == 1:
        return ops.where(f >= 0, ops.ones_like(f), -ops.ones_like(f))
    largest = largest_integer(bits)
    if bits == 2:
        return ops.clip(2.0 * ops.floor(f * 0.5) + 1.0, -largest, largest)
    return ops.clip(ops.round(f), -largest, largest)


def nearest_member(f, scheme):
    """Nearest member of a scheme's set: linear, see `nearest_integer`; affine {0, …, 2^b − 1}."""
    if scheme.grid == "linear" or not scheme.quantized:
        return nearest_integer(f, scheme.bits)
    return ops.clip(ops.round(f), 0.0, float(step_count(scheme)))
