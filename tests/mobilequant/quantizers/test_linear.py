"""Linear quantization against its three stages differentiated automatically, and against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mobilequant.quantizers import (
    Scheme,
    fake_quantize_linear,
    largest_integer,
    nearest_integer,
    quantize_linear,
)

LINEAR_SETS = {
    1: [-1, 1],
    2: [-3, -1, 1, 3],
    3: [-3, -2, -1, 0, 1, 2, 3],
    4: list(range(-7, 8)),
    8: list(range(-127, 128)),
}


def three_stages(x, scheme, axes):
    """arXiv:2409.09245, written down as it stands, for `tf.GradientTape`."""
    s_f = tf.reduce_max(tf.abs(x), axes, keepdims=True) / largest_integer(scheme.bits)
    f = x / s_f
    q = f + tf.stop_gradient(nearest_integer(f, scheme.bits) - f)
    numerator = tf.reduce_mean(q * x, axes, keepdims=True)
    return numerator / (tf.reduce_mean(q * q, axes, keepdims=True) + scheme.ridge) * q


def value_and_gradient(function, x, upstream):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y.numpy(), tape.gradient(y, x, upstream).numpy()


@pytest.mark.parametrize("bits", sorted(LINEAR_SETS))
def test_nearest_integer_is_the_nearest_member_of_the_set(bits):
    f = np.linspace(-1.2, 1.2, 1001).astype("float32") * largest_integer(bits) + 1e-4
    members = np.array(LINEAR_SETS[bits], "float32")
    expected = members[np.argmin(np.abs(f[:, None] - members), axis=1)]
    np.testing.assert_array_equal(nearest_integer(tf.constant(f), bits), expected)


def test_zero_counts_as_plus_one_at_one_bit():
    assert float(nearest_integer(tf.zeros(1), 1)[0]) == 1.0


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(3, 3, 4, 5), (1, 1, 7, 2), (6, 3), (1, 1), (2, 1)]),
    bits=st.integers(1, 8),
    per_channel=st.booleans(),
    ridge=st.sampled_from([0.0, 0.01, 1.0]),
    magnitude=st.sampled_from([1e-4, 1.0, 1e3]),
    seed=st.integers(0, 2**16),
)
def test_gradient_equals_automatic_differentiation(
    shape, bits, per_channel, ridge, magnitude, seed
):
    random = np.random.default_rng(seed)
    x = (random.normal(size=shape) * magnitude).astype("float32")
    upstream = random.normal(size=shape).astype("float32")
    scheme = Scheme(bits=bits, ridge=ridge)
    axes = tuple(range(len(shape) - 1)) if per_channel else None
    ours = value_and_gradient(lambda v: fake_quantize_linear(v, scheme, axes), x, upstream)
    reference = value_and_gradient(lambda v: three_stages(v, scheme, axes), x, upstream)
    for mine, theirs in zip(ours, reference, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5 * max(np.abs(theirs).max(), 1e-3))


def test_ste_has_gradient_one_and_off_changes_nothing():
    x = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype("float32")
    upstream = np.random.default_rng(1).normal(size=x.shape).astype("float32")
    ste = Scheme(bits=4, estimator="ste")
    y, gradient = value_and_gradient(lambda v: fake_quantize_linear(v, ste, (0, 1, 2)), x, upstream)
    np.testing.assert_array_equal(gradient, upstream)
    integers, scale = quantize_linear(tf.constant(x), ste, (0, 1, 2))
    np.testing.assert_allclose(y, integers * scale, rtol=1e-6)
    y, gradient = value_and_gradient(
        lambda v: fake_quantize_linear(v, Scheme(bits=4), (0, 1, 2), on=False), x, upstream
    )
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(gradient, upstream)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((3, 3, 2, 2)),
        np.full((3, 3, 2, 2), 0.5),
        np.full((1, 1, 1, 1), -2.0),
        np.array([[1e-30, 1e30], [-1e-30, 1.0]]),
    ],
    ids=["zero", "constant", "single", "huge range"],
)
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_values_and_gradients_stay_finite(x, bits):
    x = x.astype("float32")
    for estimator in ("denoise", "ste"):
        scheme = Scheme(bits=bits, estimator=estimator)
        y, gradient = value_and_gradient(
            lambda v, s=scheme: fake_quantize_linear(v, s, None), x, np.ones_like(x)
        )
        assert np.isfinite(y).all() and np.isfinite(gradient).all()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from([(3, 3, 8, 6), (1, 1, 40, 9), (96, 10), (5, 5, 7)]),
    bits=st.integers(1, 8),
    per_channel=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_integers_and_scale_are_those_of_training(shape, bits, per_channel, seed):
    x = np.random.default_rng(seed).normal(size=shape).astype("float32")
    scheme, axes = Scheme(bits=bits), tuple(range(len(shape) - 1)) if per_channel else None
    integers, scale = quantize_linear(tf.constant(x), scheme, axes)
    assert np.abs(integers).max() <= largest_integer(bits)
    np.testing.assert_array_equal(integers, np.round(integers))
    # s_g in double precision.
    q, x64 = integers.numpy().astype("float64"), x.astype("float64")
    expected = (q * x64).mean(axes) / ((q * q).mean(axes) + scheme.ridge)
    np.testing.assert_allclose(scale, expected, rtol=1e-5)
    np.testing.assert_allclose(
        fake_quantize_linear(tf.constant(x), scheme, axes), integers * scale, rtol=2e-5, atol=1e-6
    )


@pytest.mark.parametrize("axes", [(0, 1, 2), None])
@pytest.mark.parametrize("shape", [(3, 3, 64, 32), (1, 1, 320, 128)])
def test_the_same_bits_eagerly_in_a_graph_and_under_xla(shape, axes):
    x = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
    scheme = Scheme()

    def numbers(v):
        return quantize_linear(v, scheme, axes)

    eager = numbers(x)
    for mode in (False, True):
        compiled = tf.function(numbers, jit_compile=mode)(x)
        for a, b in zip(eager, compiled, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


def test_sums_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="more than exact 32-bit sums hold"):
        quantize_linear(tf.zeros((400, 400, 2)), Scheme(), None)
