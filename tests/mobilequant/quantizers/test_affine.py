"""Affine quantization against its three stages differentiated automatically."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mobilequant.quantizers import Scheme, affine_grid, fake_quantize_affine
from mobilequant.quantizers.affine import BYPASS, FROZEN, LIVE

SCHEME = Scheme(bits=8, grid="affine", granularity="tensor")
STE = Scheme(bits=8, grid="affine", granularity="tensor", estimator="ste")


def three_stages(x, low, high, scheme):
    """arXiv:2409.09245 with b_f moved so that real zero is an integer, for `tf.GradientTape`."""
    scale, zero_point = affine_grid(low, high, scheme.bits)
    f = x / scale + zero_point
    half = 2 ** (scheme.bits - 1)
    q = f + tf.stop_gradient(tf.clip_by_value(tf.round(f), -half, half - 1) - f)
    mean_x, mean_q = tf.reduce_mean(x), tf.reduce_mean(q)
    covariance = tf.reduce_mean((x - mean_x) * (q - mean_q))
    variance = tf.reduce_mean((q - mean_q) ** 2)
    return covariance / (variance + scheme.ridge) * (q - mean_q) + mean_x


def value_and_gradient(function, x, upstream):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y.numpy(), tape.gradient(y, x, upstream).numpy()


def ours(scheme, mode, moving=(-1.0, 1.0)):
    def function(x):
        batch = (tf.reduce_min(x), tf.reduce_max(x))
        moving_range = tuple(tf.constant(v, tf.float32) for v in moving)
        return fake_quantize_affine(x, batch, moving_range, tf.constant(mode), scheme)

    return function


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(2, 5, 5, 4), (8, 3), (1, 40), (3, 1, 1, 64)]),
    bits=st.integers(2, 8),
    ridge=st.sampled_from([0.0, 0.01, 1.0]),
    offset=st.sampled_from([0.0, 0.7, -3.0]),
    relu=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_live_gradient_equals_automatic_differentiation(shape, bits, ridge, offset, relu, seed):
    random = np.random.default_rng(seed)
    x = (random.normal(size=shape) + offset).astype("float32")
    x = np.maximum(x, 0) if relu else x
    assume(x.min() < x.max())  # without ridge, 0 / 0 in the three stages
    upstream = random.normal(size=shape).astype("float32")
    scheme = Scheme(bits=bits, grid="affine", granularity="tensor", ridge=ridge)
    mine = value_and_gradient(ours(scheme, LIVE), x, upstream)
    theirs = value_and_gradient(
        lambda v: three_stages(v, tf.constant(float(x.min())), tf.constant(float(x.max())), scheme),
        x,
        upstream,
    )
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max() + 1e-6)


@pytest.mark.parametrize("scheme", [SCHEME, STE], ids=["denoise", "ste"])
def test_frozen_is_the_grid_and_its_gradient_one(scheme):
    x = (np.linspace(-2, 2, 401) + 1e-4).astype("float32").reshape(1, -1)  # no ties
    y, gradient = value_and_gradient(ours(scheme, FROZEN), x, np.ones_like(x))
    scale, zero_point = (float(v) for v in affine_grid(tf.constant(-1.0), tf.constant(1.0)))
    q = np.clip(np.round(x / scale + zero_point), -128, 127)
    np.testing.assert_allclose(y, (q - zero_point) * scale, atol=1e-6)
    # What the range clips is noise like rounding.
    np.testing.assert_array_equal(gradient, np.ones_like(x))


def test_bypass_is_the_identity():
    x = np.random.default_rng(0).normal(size=(4, 9)).astype("float32")
    y, gradient = value_and_gradient(ours(SCHEME, BYPASS), x, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(gradient, x)


@settings(max_examples=100, deadline=None)
@given(low=st.floats(-1e4, 1e4, width=32), high=st.floats(-1e4, 1e4, width=32))
def test_zero_is_exact_and_the_range_is_covered(low, high):
    low, high = min(low, high), max(low, high)
    scale, zero_point = (float(v) for v in affine_grid(tf.constant(low), tf.constant(high)))
    assert scale > 0 and zero_point == round(zero_point) and -128 <= zero_point <= 127
    # Nudging moves the ends by half a step at most.
    assert (-128 - zero_point) * scale <= min(low, 0) + 0.51 * scale
    assert (127 - zero_point) * scale >= max(high, 0) - 0.51 * scale


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 3)),
        np.full((2, 3), 0.3),
        np.array([[-5.0]]),
        np.array([[1e-15, 1e15]]),
        np.array([[1e-30, 1e30, -1e30, 1.0]]),
        np.array([[1e-22, 3e-20, -1e-21]]),
    ],
    ids=["zero", "constant", "single", "1e15", "1e30", "tiny"],
)
@pytest.mark.parametrize("mode", [BYPASS, LIVE, FROZEN])
def test_values_and_gradients_stay_finite(x, mode):
    x = x.astype("float32")
    for scheme in (SCHEME, STE, Scheme(bits=8, grid="affine", granularity="tensor", ridge=0.0)):
        y, gradient = value_and_gradient(ours(scheme, mode), x, np.ones_like(x))
        assert np.isfinite(y).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0, 1e-6, 1e15, -1e-15, 1e25])
@pytest.mark.parametrize("size", [1, 2, 17, 1000])
@pytest.mark.parametrize("ridge", [0.0, 0.01])
def test_a_constant_tensor_in_training(value, size, ridge):
    """One integer, no variance: g is the mean of all, and the gradient that of the mean."""
    x = np.full((1, size), value, "float32")
    upstream = np.random.default_rng(size).normal(size=x.shape).astype("float32")
    scheme = Scheme(bits=8, grid="affine", granularity="tensor", ridge=ridge)
    y, gradient = value_and_gradient(ours(scheme, LIVE), x, upstream)
    np.testing.assert_allclose(y, x, rtol=1e-5)
    np.testing.assert_allclose(gradient, upstream.mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spread", [1e-7, 1e-5, 1e-3, 0.05])
@pytest.mark.parametrize("ridge", [0.0, 0.01])
def test_an_almost_constant_tensor_has_a_bounded_gradient(spread, ridge):
    random = np.random.default_rng(0)
    x = (100 * (1 + random.uniform(0, spread, (1, 400)))).astype("float32")
    upstream = random.normal(size=x.shape).astype("float32")
    scheme = Scheme(bits=8, grid="affine", granularity="tensor", ridge=ridge)
    y, gradient = value_and_gradient(ours(scheme, LIVE), x, upstream)
    np.testing.assert_allclose(y, x, rtol=1e-5 + spread)
    assert np.abs(gradient).max() <= 2 * np.abs(upstream).max()


@pytest.mark.parametrize("outlier", [1e2, 1e4, 1e8])
def test_one_outlier_leaves_the_others_one_integer(outlier):
    """Where the whole rest shares an integer, g gives it the mean of the rest."""
    random = np.random.default_rng(0)
    x = random.uniform(0.1, 0.2, (1, 500)).astype("float32") * outlier / 1e3
    x[0, 7] = outlier
    upstream = random.normal(size=x.shape).astype("float32")
    scheme = Scheme(bits=8, grid="affine", granularity="tensor", ridge=0.0)
    y, gradient = value_and_gradient(ours(scheme, LIVE), x, upstream)
    rest = np.delete(x[0], 7)
    np.testing.assert_allclose(np.delete(y[0], 7), rest.mean(), rtol=1e-3)
    np.testing.assert_allclose(y[0, 7], outlier, rtol=1e-5)
    theirs = value_and_gradient(
        lambda v: three_stages(v, tf.constant(float(x.min())), tf.constant(outlier), scheme),
        x,
        upstream,
    )
    for mine, reference in zip((y, gradient), theirs, strict=True):
        atol = 2e-3 * np.abs(reference).max()
        np.testing.assert_allclose(mine, reference, atol=atol)


def test_shifted_tensors_keep_their_gradient():
    """x̂ is recovered from y: far from zero, and where the slope is small, it must hold."""
    random = np.random.default_rng(0)
    for shift, bits, ridge in [(50.0, 8, 0.01), (-20.0, 8, 1.0), (0.0, 2, 30.0), (3.0, 4, 1e3)]:
        x = (random.normal(size=(4, 200)) + shift).astype("float32")
        upstream = random.normal(size=x.shape).astype("float32")
        scheme = Scheme(bits=bits, grid="affine", granularity="tensor", ridge=ridge)
        mine = value_and_gradient(ours(scheme, LIVE), x, upstream)
        low, high = (tf.constant(float(v)) for v in (x.min(), x.max()))
        theirs = value_and_gradient(
            lambda v, low=low, high=high, scheme=scheme: three_stages(v, low, high, scheme),
            x,
            upstream,
        )
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=5e-3 * np.abs(b).max())


def test_a_ridge_without_end_leaves_the_mean():
    x = np.random.default_rng(0).normal(size=(3, 50)).astype("float32") + 1
    scheme = Scheme(bits=8, grid="affine", granularity="tensor", ridge=1e12)
    y, gradient = value_and_gradient(ours(scheme, LIVE), x, x)
    np.testing.assert_allclose(y, x.mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient, x.mean(), rtol=1e-4)
