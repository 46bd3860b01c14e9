"""The integers that a file holds: those of training, with exact scales, the same wherever made."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from references import mask_by_hand

from mobilequant.quantizers import (
    Scheme,
    fake_quantize,
    group_axes,
    largest_integer,
    levels,
    nearest_integer,
    quantize_linear,
)

LINEAR_SETS = {
    1: [-1, 1],
    2: [-3, -1, 1, 3],
    "ternary": [-1, 0, 1],
    3: [-3, -2, -1, 0, 1, 2, 3],
    4: list(range(-7, 8)),
    8: list(range(-127, 128)),
}


@pytest.mark.parametrize("bits", LINEAR_SETS)
def test_nearest_integer_is_the_nearest_member_of_the_set(bits):
    f = np.linspace(-1.2, 1.2, 1001).astype("float32") * largest_integer(bits) + 1e-4
    members = np.array(LINEAR_SETS[bits], "float32")
    expected = members[np.argmin(np.abs(f[:, None] - members), axis=1)]
    np.testing.assert_array_equal(nearest_integer(tf.constant(f), bits), expected)


def test_zero_counts_as_plus_one_at_one_bit():
    assert float(nearest_integer(tf.zeros(1), 1)[0]) == 1.0


@st.composite
def exportable(draw):
    """Schemes of weights that a device holds."""
    estimator = draw(st.sampled_from(["denoise", "ste", "lsq"]))
    bits = draw(st.sampled_from([b for b in LINEAR_SETS if (b, estimator) != (1, "lsq")]))
    return Scheme(
        bits=bits,
        granularity=draw(st.sampled_from(["tensor", "channel"])),
        estimator=estimator,
        ridge=draw(st.sampled_from([0.0, 0.01, 1.0])),
        range=draw(st.sampled_from(["minmax", "std", "percentile", "learned"])),
        sparsity=draw(st.sampled_from([None, "2:4", "3:8", 0.5])),
    )


@settings(max_examples=80, deadline=None)
@given(
    scheme=exportable(),
    shape=st.sampled_from([(3, 3, 8, 6), (1, 1, 40, 9), (96, 10), (5, 5, 7)]),
    magnitude=st.sampled_from([1e-3, 1.0, 100.0]),
    seed=st.integers(0, 2**16),
)
def test_integers_and_scale_are_those_of_training(scheme, shape, magnitude, seed):
    x = (np.random.default_rng(seed).normal(size=shape) * magnitude).astype("float32")
    axes = group_axes(len(shape), scheme.granularity)
    group = tuple(range(len(shape))) if axes is None else axes
    learned = None
    if scheme.range == "learned":
        high = 1.7 * np.sqrt(np.square(x).mean(group, keepdims=True))
        learned = tf.constant(-high), tf.constant(high)
    x = tf.constant(x)
    integers, scale = quantize_linear(x, scheme, axes, learned=learned)
    trained = levels(x, scheme, learned=learned)
    values = fake_quantize(x, scheme, learned=learned)
    q, x, trained, values = (np.asarray(v, "float64") for v in (integers, x, trained, values))

    allowed = set(LINEAR_SETS[scheme.bits]) | ({0} if scheme.sparsity else set())
    assert set(np.unique(q)) <= allowed
    mask = np.ones(shape) if scheme.sparsity is None else mask_by_hand(x, scheme.sparsity)
    assert not q[mask == 0].any()
    # Where f lies on a tie, one rounding of the range decides.
    same = q == trained
    assert same.mean() > 0.99 and np.abs(q - trained).max() <= (2 if scheme.bits in (1, 2) else 1)

    # The scale in double precision.
    if scheme.estimator == "denoise":
        expected = (q * x).mean(group) / ((q * q).mean(group) + scheme.ridge)
    else:
        kept = x * mask
        rms = np.sqrt(np.square(kept).sum(group) / np.maximum(mask.sum(group), 1))
        high = {
            "minmax": lambda: np.abs(kept).max(group),
            "std": lambda: np.minimum(scheme.width * rms, np.abs(kept).max(group)),
            "percentile": lambda: _percentile(np.abs(kept), group, scheme.width),
            "learned": lambda: np.squeeze(np.asarray(learned[1]), group),
        }[scheme.range]()
        expected = high / largest_integer(scheme.bits)
    np.testing.assert_allclose(scale, expected, rtol=1e-5)
    if same.all():
        atol = 2e-5 * np.abs(values).max()
        np.testing.assert_allclose(q * np.asarray(scale), values, rtol=2e-5, atol=atol)


def _percentile(x, group, share):
    flat = np.moveaxis(x, -1, 0).reshape(x.shape[-1], -1) if len(group) < x.ndim else x.reshape(-1)
    flat = np.sort(flat, axis=-1)
    index = int(np.round(np.float32(share) * np.float32(flat.shape[-1] - 1)))
    return flat[..., index]


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("shape", [(3, 3, 64, 32), (320, 40)])
def test_the_same_bits_eagerly_in_a_graph_and_under_xla(shape, granularity):
    x = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
    axes = group_axes(len(shape), granularity)
    high = tf.reduce_max(tf.abs(x), axes, keepdims=True) * 0.7
    schemes = [
        Scheme(granularity=granularity, **options)
        for options in [
            {"bits": 8},
            {"bits": 8, "sparsity": "2:4"},
            {"bits": 1, "range": "std", "estimator": "ste"},
            {"bits": 2, "range": "std"},
            {"bits": "ternary", "range": "std", "sparsity": "2:4", "estimator": "ste"},
            {"bits": 4, "range": "percentile"},
            {"bits": 4, "range": "learned", "estimator": "ste"},
            {"bits": 3, "range": "std", "sparsity": 0.5},
        ]
    ]

    def numbers(v, ends):
        return [
            quantize_linear(v, s, axes, learned=ends if s.range == "learned" else None)
            for s in schemes
        ]

    eager = numbers(x, (-high, high))
    for jit in (False, True):
        compiled = tf.function(numbers, jit_compile=jit)(x, (-high, high))
        for scheme, one, other in zip(schemes, eager, compiled, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(
                    ops.convert_to_numpy(a), ops.convert_to_numpy(b), err_msg=str(scheme)
                )


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((3, 3, 2, 2)),
        np.full((3, 3, 2, 2), 0.5),
        np.full((1, 1, 1, 1), -2.0),
        np.array([[1e-30, 1e30], [-1e-30, 1.0]]),
        np.array([[0.0, 1.0], [0.0, 2.0]]),
    ],
    ids=["zero", "constant", "single", "huge range", "a dead channel"],
)
@pytest.mark.parametrize("bits", LINEAR_SETS)
@pytest.mark.parametrize("rule", ["minmax", "std", "percentile"])
def test_hard_weights_have_finite_scales(x, bits, rule):
    x = tf.constant(x.astype("float32"))
    for estimator, granularity in itertools.product(["denoise", "ste"], ["tensor", "channel"]):
        scheme = Scheme(bits=bits, range=rule, estimator=estimator, granularity=granularity)
        q, scale = quantize_linear(x, scheme, group_axes(len(x.shape), granularity))
        assert np.isfinite(q).all() and np.isfinite(scale).all() and (np.asarray(scale) >= 0).all()
        if rule == "std" and np.abs(x).max() > 1e18:
            continue  # whose squares float32 does not hold: training clips them
        trained = np.asarray(fake_quantize(x, scheme))
        atol = 2e-5 * np.abs(trained).max() + 1e-10
        np.testing.assert_allclose(np.asarray(q) * np.asarray(scale), trained, atol=atol)


def test_sums_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="more than exact 32-bit sums hold"):
        quantize_linear(tf.zeros((400, 400, 2)), Scheme(), None)
