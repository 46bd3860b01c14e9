"""The range rules against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mobilequant.quantizers import Scheme, group_axes, range_of


def sample(offset=0.4):
    x = np.random.default_rng(0).normal(size=(5, 5, 40, 3)) * [0.1, 1.0, 10.0] + offset
    return x.astype("float32")


def ranges(x, scheme, mask=None):
    axes = group_axes(x.ndim, scheme.granularity)
    low, high = range_of(tf.constant(x), scheme, axes, mask=mask)
    shape = (1, 1, 1, 3) if axes else (1, 1, 1, 1)
    assert low.shape == high.shape == shape
    return np.squeeze(low), np.squeeze(high)


def groups(x, granularity):
    return x.reshape(-1, 3) if granularity == "channel" else x.reshape(-1, 1)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("rule", ["minmax", "moving", "std", "learned", "percentile"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_linear_ranges_are_symmetric(granularity, rule, bits):
    x = sample()
    scheme = Scheme(bits=bits, granularity=granularity, range=rule)
    magnitude = np.abs(groups(x, granularity))
    deviations = scheme.width * np.sqrt(np.square(magnitude).mean(0))
    high = {
        "std": np.minimum(deviations, magnitude.max(0)),
        "percentile": np.percentile(magnitude, 99.9, axis=0, method="nearest"),
    }
    high["learned"] = high["std"]
    low, actual = ranges(x, scheme)
    np.testing.assert_allclose(actual, np.squeeze(high.get(rule, magnitude.max(0))), rtol=1e-5)
    np.testing.assert_array_equal(low, -actual)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("width", [None, 1.0])
def test_affine_deviations_stay_within_the_elements(granularity, width):
    scheme = Scheme(bits=2, grid="affine", granularity=granularity, range="std", range_width=width)
    # After a ReLU: the mean less 1.5 deviations would lie below all elements.
    x = np.maximum(sample(), 0)
    flat = groups(x, granularity)
    middle, deviation = flat.mean(0), scheme.width * flat.std(0)
    low, high = ranges(x, scheme)
    expected = np.maximum(middle - deviation, 0), middle + deviation
    np.testing.assert_allclose((low, high), np.squeeze(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("width", [0.3, 0.9, 0.999, 1.0])
def test_a_percentile_covers_that_share_of_the_elements(width):
    x = sample()
    for grid in ("linear", "affine"):
        scheme = Scheme(grid=grid, granularity="channel", range="percentile", range_width=width)
        low, high = ranges(x, scheme)
        assert (low < high).all()
        covered = ((x >= low) & (x <= high)).mean((0, 1, 2))
        np.testing.assert_allclose(covered, width, atol=2.5 / 1000)


def test_deviations_of_sparse_weights_are_those_that_stay():
    x = sample(0.0)
    mask = (np.random.default_rng(1).uniform(size=x.shape) < 0.25).astype("float32")
    scheme = Scheme(bits=4, range="std")
    _, high = ranges(x * mask, scheme, tf.constant(mask))
    stay = [x[..., c][mask[..., c] > 0] for c in range(3)]
    expected = [scheme.width * np.sqrt(np.square(v).mean()) for v in stay]
    np.testing.assert_allclose(high, expected, rtol=1e-5)
