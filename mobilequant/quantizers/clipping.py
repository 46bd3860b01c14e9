"""Ranges from histograms: by percentile, and by the smallest squared error of quantizing."""

from __future__ import annotations

import numpy as np
from keras import ops

from mobilequant.quantizers.affine import affine_grid
from mobilequant.quantizers.histogram import Histogram
from mobilequant.quantizers.integers import integer_limits, nearest_member, step_count
from mobilequant.quantizers.scheme import Scheme

#: Ends that the search begins with: the whole range times 2^(−0.4·k), down to 1/64 of it, each
#: low end with each high one. Then the neighbours of the best pair, closer and closer.
_COARSE = 2.0 ** (-0.4 * np.arange(16))
_FINE = [2.0 ** (step * np.arange(-2, 3)) for step in (0.16, 0.064, 0.0256)]

#: What the device's grid has below zero for each above, where the zero point is 0.
_BELOW = 128 / 127


def percentile_range(histogram: Histogram, scheme: Scheme, percentile: float):
    """The range that so many percent of all values lie in.

    Args:
        histogram: Of the values.
        scheme: Of its grid: linear ranges are symmetric; of an affine one as many values lie
            below the range as above it.
        percentile: Above 0, up to 100: the smallest and the largest value.

    Returns:
        low, high: Floats.
    """
    if scheme.grid == "linear":
        high = histogram.magnitudes().quantile(percentile / 100)
        return -high, high
    below = (1 - percentile / 100) / 2
    return histogram.quantile(below), histogram.quantile(1 - below)


def least_error_range(histogram: Histogram, scheme: Scheme, symmetric: bool = False):
    """The range that quantizes all values with the smallest mean squared error.

    Both ends are searched at once, by what the scheme's own bits, grid (on a device's with the
    integer zero point) and dequantization make of every bin. What clips counts like what rounds.

    Args:
        histogram: Of the values.
        scheme: How they are quantized.
        symmetric: Whether the zero point of a device's grid must be 0.

    Returns:
        low, high: Floats.
    """
    values, shares = histogram.values()
    pivot = 0.0
    if scheme.grid == "affine" and not scheme.on_device_grid:
        pivot = histogram.quantile(0.5)
    lowest, highest = min(histogram.low, pivot) - pivot, max(histogram.high, pivot) - pivot
    if scheme.grid == "linear" or symmetric:
        highest = max(highest, -lowest)
        lowest = -highest * (_BELOW if symmetric else 1.0)
    if lowest == highest:
        return histogram.low, histogram.high
    tied = scheme.grid == "linear" or symmetric
    best = (1.0, 1.0)
    for factors in (_COARSE, *_FINE):
        lows, highs = best[0] * factors, best[1] * factors
        if tied:
            pairs = [(factor, factor) for factor in highs]
        else:
            # An end at the pivot stays there.
            pairs = [
                (a, b) for a in (lows if lowest else [1.0]) for b in (highs if highest else [1.0])
            ]
        low, high = pivot + np.minimum(np.array(pairs), 1.0).T * [[lowest], [highest]]
        errors = _errors(values, shares, scheme, low, high)
        best = tuple(min(float(factor), 1.0) for factor in pairs[int(np.argmin(errors))])
    return pivot + best[0] * lowest, pivot + best[1] * highest


def histogram_dequantization(histogram: Histogram, scheme: Scheme, low: float, high: float):
    """Slope and offset of y = slope·q + offset over a range, as `transform` has them.

    Args:
        histogram: Of the values.
        scheme: Any but that of a device's grid.
        low, high: The range.

    Returns:
        slope, offset: Floats.
    """
    values, shares = histogram.values()
    _, slope, offset = _integers(values, shares, scheme, np.array([low]), np.array([high]))
    return float(slope[0, 0]), float(offset[0, 0])


def _errors(values, shares, scheme, low, high):
    """Mean squared error of each of several ranges; the arguments `low` and `high` are arrays."""
    q, slope, offset = _integers(values, shares, scheme, low, high)
    return np.square(slope * q + offset - values) @ shares


def _integers(values, shares, scheme, low, high):
    """The integers of all values in each range, their slopes and offsets; ranges × values."""
    low, high = (np.asarray(end, np.float32)[:, None] for end in (low, high))
    if scheme.on_device_grid:
        low, high = _device_ends(low, high, scheme.bits)
    affine = scheme.grid == "affine"
    start, width = (low, high - low) if affine else (np.zeros_like(low), high)
    scale = np.where(width > 0, width / step_count(scheme), 1.0)
    f = ((values - start) / scale).astype(np.float32)
    q = ops.convert_to_numpy(nearest_member(ops.convert_to_tensor(f), scheme)).astype(np.float64)
    if scheme.on_device_grid or scheme.estimator != "denoise":
        return q, scale, start
    mean_f, mean_q = ((f @ shares)[:, None], (q @ shares)[:, None]) if affine else (0.0, 0.0)
    covariance = ((f - mean_f) * (q - mean_q)) @ shares
    variance = np.square(q - mean_q) @ shares
    a = (covariance / np.maximum(variance + scheme.ridge, 1e-12))[:, None]
    return q, scale * a, start + scale * (mean_f - a * mean_q)


def _device_ends(low, high, bits):
    """The ranges that a device's grid really has: real zero lies on an integer."""
    scale, zero_point = (ops.convert_to_numpy(v) for v in affine_grid(low, high, bits))
    smallest, largest = integer_limits(bits)
    return (smallest - zero_point) * scale, (largest - zero_point) * scale
