"""Histograms that widen, and the ranges that are read off them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mobilequant.quantizers import (
    Histogram,
    Scheme,
    affine_grid,
    histogram_dequantization,
    integer_limits,
    least_error_range,
    percentile_range,
    transform,
)
from mobilequant.quantizers.scheme import GAUSSIAN_WIDTHS

DEVICE = Scheme(bits=8, grid="affine", granularity="tensor")
_LARGEST = 2.0**100
finite = st.floats(-_LARGEST, _LARGEST, width=32)


def filled(values, **options):
    histogram = Histogram(**options)
    histogram.add(np.asarray(values, "float32"))
    return histogram


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(finite, max_size=20), min_size=1, max_size=6), st.randoms())
def test_batches_and_their_order_do_not_matter(batches, random):
    values = [value for batch in batches for value in batch]
    if not values:
        return
    one, whole = Histogram(64), filled(values, bins=64)
    for batch in random.sample(batches, len(batches)):
        one.add(np.array(batch, "float32"))
    assert (one.low, one.high) == (min(values), max(values)) == (whole.low, whole.high)
    assert one.total == len(values)
    # The first value may start with narrower bins, which then merge into the same ones.
    assert one.width == whole.width
    for mine, theirs in zip(one.values(), whole.values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@settings(max_examples=200, deadline=None)
@given(st.lists(finite, min_size=1, max_size=200), st.floats(0, 1))
def test_quantiles_are_within_a_bin_of_numpys(values, share):
    histogram = filled(values, bins=64)
    ordered = np.sort(np.array(values, "float64"))
    # The value with that share below it lies between these two members.
    place = share * len(ordered)
    below = ordered[max(int(np.ceil(place)) - 1, 0)]
    above = ordered[min(int(place), len(ordered) - 1)]
    tolerance = histogram.width * (1 + 1e-9)
    assert below - tolerance <= histogram.quantile(share) <= above + tolerance
    assert histogram.quantile(0.0) == min(values) and histogram.quantile(1.0) == max(values)


def test_what_was_seen_fills_more_than_half_of_the_bins():
    random = np.random.default_rng(0)
    for _ in range(50):
        low, span = random.normal() * 10 ** random.uniform(-3, 3), 10 ** random.uniform(-3, 3)
        histogram = filled(random.uniform(low, low + span, 100))
        assert 2**13 <= (histogram.high - histogram.low) / histogram.width <= 2**14


def test_magnitudes_are_those_of_the_absolute_values():
    values = np.random.default_rng(0).normal(0.5, 1, 10_000).astype("float32")
    for part in (values, np.abs(values) + 1, -np.abs(values) - 1):
        folded, direct = filled(part).magnitudes(), filled(np.abs(part))
        assert (folded.low, folded.high) == pytest.approx(
            (0 if part is values else 1, direct.high), abs=1e-3
        )
        for share in (0.01, 0.5, 0.999):
            assert folded.quantile(share) == pytest.approx(
                direct.quantile(share), abs=2 * folded.width
            )


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-30, 1e-44, 1e38])
def test_a_constant_has_itself_as_every_quantile(value):
    histogram = filled([value] * 3)
    assert [histogram.quantile(q) for q in (0, 0.5, 1)] == [np.float32(value)] * 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinite"):
        filled([1.0, bad])


def test_percentiles_leave_as_many_values_below_as_above():
    values = np.random.default_rng(0).exponential(size=100_000).astype("float32")
    low, high = percentile_range(filled(values), DEVICE, 99.0)
    assert np.mean(values < low) == pytest.approx(0.005, abs=5e-4)
    assert np.mean(values > high) == pytest.approx(0.005, abs=5e-4)
    assert percentile_range(filled(values), DEVICE, 100) == (values.min(), values.max())
    low, high = percentile_range(filled(values - 1), Scheme(bits=4), 99.0)
    assert low == -high
    assert np.mean(np.abs(values - 1) > high) == pytest.approx(0.01, abs=5e-4)


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 7, 8])
def test_least_error_of_a_normal_distribution_is_that_of_the_literature(bits):
    values = np.random.default_rng(0).normal(size=1_000_000)
    scheme = Scheme(bits=bits, grid="affine", granularity="tensor", estimator="ste")
    low, high = least_error_range(filled(values), scheme)
    # Max, 1960: outermost levels; the minimum is flat, so that the sample moves it by percents.
    width = GAUSSIAN_WIDTHS[bits]
    assert (low, high) == (pytest.approx(-width, rel=0.04), pytest.approx(width, rel=0.04))


@pytest.mark.parametrize(
    "scheme",
    [
        DEVICE,
        Scheme(bits=4, grid="affine", granularity="tensor"),
        Scheme(bits=4, grid="affine", granularity="tensor", estimator="ste"),
        Scheme(bits=2, granularity="tensor", estimator="ste"),
        Scheme(bits="ternary", granularity="tensor"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["outlier", "rectified", "shifted"])
def test_no_range_on_a_grid_of_ranges_is_better_than_the_least_error(scheme, kind):
    random = np.random.default_rng(1)
    values = {
        "outlier": np.append(random.normal(size=5_000), 60.0),
        "rectified": np.maximum(random.normal(size=5_000), 0),
        "shifted": random.normal(3, 0.5, size=5_000),
    }[kind].astype("float32")
    found = error(values, scheme, *least_error_range(filled(values), scheme))
    lows = [0.0] if kind == "rectified" else values.min() * np.linspace(-0.2, 1, 13)
    highs = values.max() * np.linspace(0.04, 1, 33)
    if scheme.grid == "linear":
        best = min(error(values, scheme, -high, high) for high in highs)
    else:
        best = min(error(values, scheme, a, b) for a in lows for b in highs if a < b)
    assert found <= best * 1.03


def test_symmetric_ranges_have_the_zero_point_zero():
    values = np.random.default_rng(0).normal(0.2, 1, size=10_000)
    low, high = least_error_range(filled(values), DEVICE, symmetric=True)
    _, zero_point = affine_grid(np.float32(low), np.float32(high))
    assert float(zero_point) == 0.0


@pytest.mark.parametrize("grid", ["linear", "affine"])
@pytest.mark.parametrize("estimator", ["denoise", "ste"])
def test_dequantization_is_that_of_the_transform(grid, estimator):
    values = np.random.default_rng(0).normal(0.5, 1, size=20_000).astype("float32")
    scheme = Scheme(bits=3, grid=grid, granularity="tensor", estimator=estimator)
    low, high = (-1.5 if grid == "affine" else -2.0), 2.0
    slope, offset = histogram_dequantization(filled(values), scheme, low, high)
    ends = [ops.reshape(np.float32(end), (1,)) for end in (low, high)]
    _, *expected = transform(ops.convert_to_tensor(values), scheme, None, *ends)
    expected = [float(np.squeeze(v)) for v in expected]
    assert slope == pytest.approx(expected[0], rel=1e-3)
    assert offset == pytest.approx(expected[1], abs=1e-3)


def error(values, scheme, low, high):
    """Mean squared error by the quantizers themselves."""
    if scheme.on_device_grid:
        scale, zero_point = (np.asarray(v) for v in affine_grid(np.float32(low), np.float32(high)))
        smallest, largest = integer_limits(8)
        q = np.clip(np.round(values / scale) + zero_point, smallest, largest)
        return float(np.mean(np.square((q - zero_point) * scale - values)))
    ends = [ops.reshape(np.float32(end), (1,)) for end in (low, high)]
    y, *_ = transform(ops.convert_to_tensor(values), scheme, None, *ends)
    return float(np.mean(np.square(np.asarray(y) - values)))
