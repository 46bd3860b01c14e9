"""Fixed-point products against the same in exact whole numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mobilequant.integer import fixed_point

positive = st.floats(2.0**-20, 2.0**20, width=32)


def expected(numerator, denominator):
    """The quotient as mantissa and shift, rounded half up to 31 bits."""
    quotient, shift = Fraction(numerator) / Fraction(denominator), 0
    while quotient >= 1:
        quotient, shift = quotient / 2, shift + 1
    while quotient < Fraction(1, 2):
        quotient, shift = quotient * 2, shift - 1
    mantissa = int(quotient * 2**31 + Fraction(1, 2))
    return (mantissa // 2, shift + 1) if mantissa == 2**31 else (mantissa, shift)


@settings(max_examples=150, deadline=None)
@given(numerator=positive, denominator=positive)
@example(numerator=1.0, denominator=1.0)
@example(numerator=float(np.nextafter(np.float32(1), np.float32(0))), denominator=1.0)
@example(numerator=2.0**-20, denominator=2.0**20)
def test_quotient(numerator, denominator):
    found = fixed_point.fixed_point(np.float32(numerator), np.float32(denominator))
    assert (int(found.mantissa), int(found.shift)) == expected(numerator, denominator)


def test_zero():
    factor = fixed_point.fixed_point(np.float32(0))
    assert int(fixed_point.multiply(np.int32(1000), factor)) == 0


@settings(max_examples=150, deadline=None)
@given(x=st.integers(-(2**31) + 1, 2**31 - 1), mantissa=st.integers(2**30, 2**31 - 1))
@example(x=-(2**31) + 1, mantissa=2**31 - 1)
@example(x=2**31 - 1, mantissa=2**31 - 1)
@example(x=-1, mantissa=2**30)
@example(x=1, mantissa=2**30)
def test_high_product(x, mantissa):
    found = fixed_point.high_product(np.int32(x), np.int32(mantissa))
    assert int(found) == (x * mantissa + 2**30) >> 31


@settings(max_examples=100, deadline=None)
@given(x=st.integers(-(2**31) + 1, 2**31 - 1), bits=st.integers(0, 40))
@example(x=-3, bits=1)
@example(x=3, bits=1)
@example(x=-(2**30), bits=31)
def test_rounding_shift(x, bits):
    exact = Fraction(abs(x), 2**bits)
    away = int(exact + Fraction(1, 2))
    if bits > 30:
        away = 0
    found = int(fixed_point.rounding_shift(np.int32(x), np.int32(bits)))
    assert found == (away if x >= 0 else -away)


@pytest.mark.parametrize("exponent", [-59, -20, -1, 0, 1, 20, 59])
def test_floor_log2(exponent):
    power = np.float32(2.0**exponent)
    assert int(fixed_point.floor_log2(power)) == exponent
    assert int(fixed_point.floor_log2(np.nextafter(power, np.float32(0)))) == exponent - 1
