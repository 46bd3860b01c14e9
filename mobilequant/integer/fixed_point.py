"""Products with a fixed-point number: what LiteRT's own kernels do where XNNPACK does not run.

A real factor becomes a mantissa of 31 bits and a shift. The device multiplies in 64 bits, which
JAX does not have by default; here the products are taken in parts that fit int32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from keras import ops

#: Exponents of the factors that are told apart; smaller ones are zero.
_SMALLEST_EXPONENT, _LARGEST_EXPONENT = -60, 60

#: Bits of a quotient that one step of the long division gives: 24 + 7 fit int32.
_STEP = 7


class FixedPoint(NamedTuple):
    """A positive number: mantissa · 2^(shift − 31), the mantissa in [2³⁰, 2³¹), both int32."""

    mantissa: object
    shift: object


def fixed_point(numerator, denominator=1.0) -> FixedPoint:
    """The quotient of two float32 numbers, rounded to 31 bits and not to float32's 24 before.

    Args:
        numerator: float32, not negative, a scalar or tensor.
        denominator: float32, positive.
    """
    top, top_exponent = _parts(numerator)
    bottom, bottom_exponent = _parts(denominator)
    # Both are integers in [2²³, 2²⁴): their quotient lies in (1/2, 2).
    quotient = ops.cast(top >= bottom, "int32")
    rest, shift = top - bottom * quotient, top_exponent - bottom_exponent + quotient
    # 30 bits behind the point if there is a digit before it, 31 otherwise, by long division in
    # steps of 7 bits; one further step has the bits that decide how to round.
    for _ in range(4):
        part = ops.left_shift(rest, _STEP)
        digits = ops.floor_divide(part, bottom)
        quotient, rest = ops.left_shift(quotient, _STEP) + digits, part - digits * bottom
    part = ops.left_shift(rest, _STEP)
    digits = ops.floor_divide(part, bottom)
    rest = part - digits * bottom
    # 28 bits so far; 2 or 3 more, and half of the last one is added.
    missing = ops.where(top >= bottom, 2, 3)
    half = ops.left_shift(np.int32(1), 6 - missing)
    mantissa = ops.left_shift(quotient, missing) + ops.right_shift(digits + half, 7 - missing)
    # Rounded up to 2³¹, which int32 does not hold: the next power of two.
    overflow = mantissa < 0
    mantissa = ops.where(overflow, np.int32(2**30), mantissa)
    shift = shift + ops.cast(overflow, "int32")
    return FixedPoint(ops.where(top > 0, mantissa, 0), ops.where(top > 0, shift, 0))


def multiply(x, factor: FixedPoint):
    """x · factor, rounded twice: to the high half of the product, then by the shift.

    Args:
        x: int32; shifted left by a positive shift of `factor` it must fit int32.
        factor: What `fixed_point` gives.
    """
    left, right = ops.maximum(factor.shift, 0), ops.maximum(-factor.shift, 0)
    return rounding_shift(high_product(ops.left_shift(x, left), factor.mantissa), right)


def high_product(x, mantissa):
    """x · mantissa / 2³¹, rounded half up: the saturating rounding doubling high multiply.

    Args:
        x: int32.
        mantissa: int32, not negative.
    """
    high = ops.right_shift(x, 13)
    low = x - ops.left_shift(high, 13)
    m2 = ops.right_shift(mantissa, 22)
    m1 = ops.bitwise_and(ops.right_shift(mantissa, 11), 2047)
    m0 = ops.bitwise_and(mantissa, 2047)
    # Schoolbook multiplication from the lowest digits up. Floors nest, so that what no later
    # digit can change is shifted away at once: units of 2¹¹, 2¹³, 2²², 2²⁴ and 2³¹.
    total = low * m1 + ops.right_shift(low * m0, 11)
    total = high * m0 + ops.right_shift(total, 2)
    total = low * m2 + ops.right_shift(total, 9) + 2**8  # half of the last unit
    total = high * m1 + ops.right_shift(total, 2)
    return ops.left_shift(high * m2, 4) + ops.right_shift(total, 7)


def rounding_shift(x, bits):
    """x / 2^bits, rounded half away from zero.

    Args:
        x: int32.
        bits: int32, not negative; from 31 on everything is 0.
    """
    kept = ops.minimum(bits, 30)
    mask = ops.left_shift(np.int32(1), kept) - 1
    threshold = ops.right_shift(mask, 1) + ops.cast(x < 0, "int32")
    y = ops.right_shift(x, kept) + ops.cast(ops.bitwise_and(x, mask) > threshold, "int32")
    return ops.where(bits > 30, 0, y)


def floor_log2(x):
    """⌊log2 x⌋ as int32, exact for powers of two, for float32 x in [2⁻⁶⁰, 2⁶⁰)."""
    exponents = np.arange(_SMALLEST_EXPONENT + 1, _LARGEST_EXPONENT)
    powers = np.exp2(exponents).astype("float32")
    reached = ops.expand_dims(x, -1) >= powers
    return ops.sum(ops.cast(reached, "int32"), axis=-1) + _SMALLEST_EXPONENT


def _parts(x):
    """A float32 as an integer in [2²³, 2²⁴) and an exponent: x = integer · 2^(exponent − 24)."""
    x = ops.convert_to_tensor(x, "float32")
    exponent = floor_log2(x)
    # Two factors: 2^(23 − exponent) alone may not be a float32.
    integer = x * _power(11 - exponent // 2) * _power(12 - (exponent - exponent // 2))
    negligible = x < 2.0**_SMALLEST_EXPONENT
    return ops.where(negligible, 0, ops.cast(integer, "int32")), exponent + 1


def _power(exponent):
    """2^exponent as float32, exactly, for |exponent| ≤ 60."""
    up = ops.left_shift(np.int32(1), ops.clip(exponent, 0, 30))
    up2 = ops.left_shift(np.int32(1), ops.clip(exponent - 30, 0, 30))
    down = ops.left_shift(np.int32(1), ops.clip(-exponent, 0, 30))
    down2 = ops.left_shift(np.int32(1), ops.clip(-exponent - 30, 0, 30))
    product = ops.cast(up, "float32") * ops.cast(up2, "float32")
    return product / (ops.cast(down, "float32") * ops.cast(down2, "float32"))
