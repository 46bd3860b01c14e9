"""The tables of range widths are the optima that they say they are, found by integration."""

import numpy as np
import pytest

from mobilequant.quantize.recipe import RECTIFIED_WIDTHS
from mobilequant.quantizers import largest_integer, nearest_integer
from mobilequant.quantizers.scheme import GAUSSIAN_WIDTHS, TERNARY

X = np.linspace(-8, 8, 80_001)
DENSITY = np.exp(-X * X / 2)
DENSITY /= DENSITY.sum()


def rounded(x, levels, low, high):
    step = (high - low) / (levels - 1)
    return np.clip(np.round((x - low) / step), 0, levels - 1) * step + low


@pytest.mark.parametrize("bits", [1, TERNARY, 2, 3, 4, 5, 6])
def test_a_normal_distribution_has_the_smallest_squared_error(bits):
    # Max counts 2^b levels; our linear sets leave one out from 3 bits on, which his table does not.
    levels = 3 if bits == TERNARY else 2**bits

    def error(width):
        return (DENSITY * (X - rounded(X, levels, -width, width)) ** 2).sum()

    best = error(GAUSSIAN_WIDTHS[bits])
    others = [error(GAUSSIAN_WIDTHS[bits] + change) for change in (-0.04, 0.04)]
    assert best < min(others)
    # What is quantized by our sets at these widths is near the optimum of theirs.
    scale = GAUSSIAN_WIDTHS[bits] / largest_integer(bits)
    ours = (DENSITY * (X - np.asarray(nearest_integer(X / scale, bits)) * scale) ** 2).sum()
    assert ours < 1.3 * best


@pytest.mark.parametrize("bits", sorted(RECTIFIED_WIDTHS))
def test_behind_a_relu_regression_explains_most(bits):
    x = np.maximum(X, 0)
    mean = (DENSITY * x).sum()
    deviation = (DENSITY * (x - mean) ** 2).sum() ** 0.5

    def unexplained(width):
        low, high = max(mean - width * deviation, 0), mean + width * deviation
        q = rounded(x, 2**bits, low, high)
        q = q - (DENSITY * q).sum()
        covariance = (DENSITY * q * x).sum()
        return deviation**2 - covariance**2 / (DENSITY * q * q).sum()

    best = min(unexplained(width) for width in np.arange(0.5, 8, 0.05))
    assert unexplained(RECTIFIED_WIDTHS[bits]) <= 1.02 * best
