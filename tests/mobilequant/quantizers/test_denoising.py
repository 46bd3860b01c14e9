"""The transform against its three stages differentiated automatically, against papers and NumPy."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from references import (
    mask_by_hand,
    noise,
    three_stages,
    three_stages_by_block,
    value_and_gradient,
)

from mobilequant.quantizers import (
    Scheme,
    fake_quantize,
    group_axes,
    levels,
    range_of,
    sparsity_mask,
    step_count,
    transform,
)
from mobilequant.quantizers.integers import nearest_member

BITS = [1, 2, "ternary", 3, 4, 8]
SHAPES = [(3, 3, 6, 5), (1, 1, 9, 4), (40, 3), (7, 1)]

#: Members of each integer set, from DESIGN.md.
MEMBERS = {
    ("linear", 1): [-1, 1],
    ("linear", 2): [-3, -1, 1, 3],
    ("linear", "ternary"): [-1, 0, 1],
    **{("linear", b): list(range(1 - 2 ** (b - 1), 2 ** (b - 1))) for b in range(3, 9)},
    **{("affine", b): list(range(2**b)) for b in range(1, 9)},
}


def arrays(shape, magnitude=1.0, offset=0.0, seed=0):
    """Weights and what comes back to them from above."""
    random = np.random.default_rng(seed)
    x = (random.normal(size=shape) + offset) * magnitude
    return x.astype("float32"), random.normal(size=shape).astype("float32")


def assert_close(ours, reference, tolerance):
    """Value and gradient, each relative to its own largest element."""
    for what, mine, theirs in zip(("value", "gradient"), ours, reference, strict=True):
        assert np.isfinite(mine).all()
        bound = tolerance * max(np.abs(theirs).max(), 1e-12)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=bound, err_msg=what)


def away_from_ties(x, scheme, ends):
    """Whether f is so far from any tie and end that rounding errors of float32 decide nothing."""
    low, high = ends
    steps = step_count(scheme)
    f = (x - low) * steps / (high - low) if scheme.grid == "affine" else x * steps / high
    return np.abs(f - np.round(2 * f) / 2).min() > 1e-4


def no_tie(x, scheme, axes, mask):
    """Whether rounding errors of float32 decide no integer: no two members nearly as near."""
    sparse = x if mask is None else x * np.asarray(mask)
    low, high = (np.asarray(end) for end in range_of(tf.constant(sparse), scheme, axes, mask=mask))
    steps = step_count(scheme)
    f = (x - low) * steps / (high - low) if scheme.grid == "affine" else sparse * steps / high
    members = np.array(MEMBERS[scheme.grid, scheme.bits])
    nearest = np.sort(np.abs(f[..., None] - members), axis=-1)
    return (nearest[..., 1] - nearest[..., 0]).min() > 1e-4


@st.composite
def schemes(draw, estimators=("denoise", "ste")):
    """Schemes of weights with a range of their own and a scale a tensor or a channel."""
    grid = draw(st.sampled_from(["linear", "affine"]))
    sparsity = draw(st.sampled_from([None, "2:4", "1:3", 0.5])) if grid == "linear" else None
    return Scheme(
        bits=draw(st.sampled_from([b for b in BITS if (grid, b) in MEMBERS])),
        grid=grid,
        granularity=draw(st.sampled_from(["tensor", "channel"])),
        estimator=draw(st.sampled_from(estimators)),
        ridge=draw(st.sampled_from([0.0, 0.01, 1.0, 30.0])),
        range=draw(st.sampled_from(["minmax", "std", "percentile"])),
        clip_gradient=draw(st.booleans()),
        range_gradient=draw(st.booleans()),
        sparsity=sparsity,
    )


@settings(max_examples=150, deadline=None)
@given(
    scheme=schemes(),
    shape=st.sampled_from(SHAPES),
    magnitude=st.sampled_from([1e-4, 1.0, 1e3]),
    offset=st.sampled_from([0.0, 0.7, -3.0]),
    seed=st.integers(0, 2**16),
)
def test_gradient_equals_automatic_differentiation(scheme, shape, magnitude, offset, seed):
    x, upstream = arrays(shape, magnitude, offset, seed)
    axes = group_axes(len(shape), scheme.granularity)
    mask = None if scheme.sparsity is None else sparsity_mask(tf.constant(x), scheme)
    assume(no_tie(x, scheme, axes, mask))
    ours = value_and_gradient(lambda v: fake_quantize(v, scheme), x, upstream)
    reference = value_and_gradient(lambda v: three_stages(v, scheme, axes, mask), x, upstream)
    # Without ridge one group may hold one element: its regression is 0 / 0 but for rounding.
    assume(np.isfinite(reference[1]).all())
    assert_close(ours, reference, 1e-3 if scheme.ridge == 0 else 3e-4)


@settings(max_examples=30, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    affine=st.booleans(),
    estimator=st.sampled_from(["denoise", "ste"]),
    size=st.sampled_from([4, 7, 16, 64]),
    shape=st.sampled_from([(3, 3, 4, 3), (1, 1, 32, 2), (50, 2), (5, 1)]),
    sparsity=st.sampled_from([None, "2:4", 0.5]),
    clip=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_blocks_are_quantized_one_by_one(
    bits, affine, estimator, size, shape, sparsity, clip, seed
):
    grid = "affine" if affine and bits != "ternary" else "linear"
    scheme = Scheme(
        bits=bits,
        grid=grid,
        granularity="block",
        block_size=size,
        estimator=estimator,
        range="std",
        clip_gradient=clip,
        sparsity=None if grid == "affine" else sparsity,
    )
    x, upstream = arrays(shape, seed=seed)
    mask = None if scheme.sparsity is None else sparsity_mask(tf.constant(x), scheme)
    ours = value_and_gradient(lambda v: fake_quantize(v, scheme), x, upstream)
    reference = value_and_gradient(lambda v: three_stages_by_block(v, scheme, mask), x, upstream)
    assume(np.isfinite(reference[1]).all())  # a block without any weight left
    assert_close(ours, reference, 3e-4)


@settings(max_examples=40, deadline=None)
@given(
    scheme=schemes(),
    affine_ends=st.sampled_from([(-1.0, 1.0), (0.0, 2.0), (-0.3, 0.1), (0.4, 1.5)]),
    seed=st.integers(0, 2**16),
)
def test_gradient_reaches_a_range_from_outside(scheme, affine_ends, seed):
    """As where it is learned: automatic differentiation by the ends, whatever the estimator."""
    x, upstream = arrays((4, 5, 3), seed=seed)
    ends = affine_ends if scheme.grid == "affine" else (-affine_ends[1], affine_ends[1])
    assume(away_from_ties(x, scheme, ends))
    axes = group_axes(3, scheme.granularity)
    shape = [1 if axes is None or a in axes else n for a, n in enumerate(x.shape)]
    mask = None if scheme.sparsity is None else sparsity_mask(tf.constant(x), scheme)
    gradients = []
    for function in (
        lambda v, low, high: transform(v, scheme, axes, low, high, mask=mask)[0],
        lambda v, low, high: three_stages(v, scheme, axes, mask, (low, high)),
    ):
        low, high, v = (tf.constant(v) for v in (*(np.full(shape, e, "f") for e in ends), x))
        with tf.GradientTape() as tape:
            tape.watch((v, low, high))
            y = function(v, low, high)
        zero = tf.UnconnectedGradients.ZERO
        gradients.append([y, *tape.gradient(y, (v, low, high), upstream, zero)])
    for mine, theirs in zip(*gradients, strict=True):
        # The gradients by the ends are sums that may cancel.
        atol = 3e-4 * np.abs(theirs).max() + 1e-6 * np.abs(upstream).sum()
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("bits", [2, "ternary", 4, 8])
def test_learned_step_size_is_that_of_its_paper(bits):
    """arXiv:1902.08153, eq. 1 to 3 and 5: ∂v̂/∂s is round(v/s) − v/s inside, ±Q outside."""
    scheme = Scheme(bits=bits, estimator="lsq", granularity="tensor")
    v, upstream = arrays((400,))
    largest = step_count(scheme)
    step = np.float32(1.1 / largest)
    span = tf.constant([step * largest])
    x = tf.constant(v)
    with tf.GradientTape() as tape:
        tape.watch((x, span))
        y, *_ = transform(x, scheme, None, -span, span)
    dx, dspan = tape.gradient(y, (x, span), upstream)
    scaled = v / step
    inside = np.abs(scaled) < largest
    rounded = np.asarray(nearest_member(tf.constant(scaled), scheme))
    np.testing.assert_allclose(y, rounded * step, rtol=1e-6)
    np.testing.assert_array_equal(dx, np.where(inside, upstream, 0))
    by_step = np.where(inside, rounded - scaled, np.sign(scaled) * largest)
    expected = np.sum(by_step * upstream, dtype="float64")
    np.testing.assert_allclose(dspan[0] * largest, expected, rtol=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_learned_affine_range(bits):
    """arXiv:2004.09576 (LSQ+), eq. 5 and 6: ∂x̂/∂β is 0 inside and 1 outside."""
    scheme = Scheme(
        bits=bits, grid="affine", granularity="tensor", estimator="ste",
        range="learned", clip_gradient=True,
    )  # fmt: skip
    v, upstream = arrays((400,), offset=0.3)
    largest = step_count(scheme)
    step, beta = tf.constant([2.0 / largest]), tf.constant([-0.6])
    x = tf.constant(v)
    with tf.GradientTape() as tape:
        tape.watch((x, step, beta))
        y, *_ = transform(x, scheme, None, beta, beta + step * largest)
    dx, dstep, dbeta = tape.gradient(y, (x, step, beta), upstream)
    scaled = (v + np.float32(0.6)) / step.numpy()
    inside = (scaled > 0) & (scaled < largest)
    rounded = np.clip(np.round(scaled), 0, largest)
    np.testing.assert_allclose(y, rounded * step.numpy() - 0.6, atol=1e-6)
    np.testing.assert_array_equal(dx, np.where(inside, upstream, 0))
    by_step = np.where(inside, rounded - scaled, rounded)
    np.testing.assert_allclose(dstep[0], np.sum(by_step * upstream), rtol=1e-3)
    np.testing.assert_allclose(dbeta[0], np.sum(upstream[~inside]), rtol=1e-3)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("grid", ["linear", "affine"])
def test_straight_through_has_gradient_one_inside(grid, clip):
    scheme = Scheme(bits=4, grid=grid, estimator="ste", range="std", clip_gradient=clip)
    x, upstream = arrays((3, 3, 20, 4), offset=0.2)
    _, gradient = value_and_gradient(lambda v: fake_quantize(v, scheme), x, upstream)
    if not clip:
        np.testing.assert_array_equal(gradient, upstream)
        return
    middle = x.mean((0, 1, 2)) if grid == "affine" else 0.0
    half = scheme.width * np.sqrt(np.square(x - middle).mean((0, 1, 2)))
    inside = np.abs(x - middle) <= half
    assert 0 < inside.mean() < 1
    np.testing.assert_array_equal(gradient, np.where(inside, upstream, 0))


@pytest.mark.parametrize("grid", ["linear", "affine"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_range_of_all_elements_clips_none(bits, grid):
    """Not the largest either, whose f is the largest integer but for rounding."""
    scheme = Scheme(
        bits=bits, grid=grid, granularity="channel", estimator="ste", clip_gradient=True
    )
    x, upstream = arrays((9, 500), offset=0.1)
    _, gradient = value_and_gradient(lambda v: fake_quantize(v, scheme), x, upstream)
    np.testing.assert_array_equal(gradient, upstream)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("grid", ["linear", "affine"])
@pytest.mark.parametrize("estimator", ["denoise", "ste"])
@pytest.mark.parametrize("clip", [False, True])
def test_frozen_dequantizes_with_the_numbers_given(granularity, grid, estimator, clip):
    scheme = Scheme(
        bits=3, grid=grid, granularity=granularity, estimator=estimator, clip_gradient=clip
    )
    x, upstream = arrays((6, 4, 3), seed=3)
    axes = group_axes(3, granularity)
    shape = (1, 1, 3) if axes else (1, 1, 1)
    random = np.random.default_rng(0)
    high = tf.constant(random.uniform(0.8, 1.5, shape).astype("f"))
    low = -high + 0.2 if grid == "affine" else -high
    given = [tf.constant(random.uniform(0.2, 0.5, shape).astype("f")) for _ in range(2)]
    steps = step_count(scheme)

    def reference(v):
        s_f = (high - low) / steps if grid == "affine" else high / steps
        f = (v - low) / s_f if grid == "affine" else v / s_f
        held = tf.clip_by_value(f, 0.0 if grid == "affine" else -steps, steps) if clip else f
        q = held + noise(nearest_member(f, scheme), held)
        slope, offset = given if estimator == "denoise" else (s_f, low)
        return slope * q + (offset if grid == "affine" else 0.0)

    def ours(v):
        return transform(v, scheme, axes, low, high, live=0.0, given=tuple(given))[0]

    assert_close(
        value_and_gradient(ours, x, upstream), value_and_gradient(reference, x, upstream), 1e-5
    )


def test_frozen_at_what_training_found_gives_what_training_gave():
    for grid in ("linear", "affine"):
        scheme = Scheme(bits=2, grid=grid, granularity="tensor")
        x, _ = arrays((6, 40), offset=0.2)
        ends = tf.constant([[-0.8]]), tf.constant([[0.8]])
        y, *given = transform(tf.constant(x), scheme, None, *ends)
        again, slope, offset = transform(
            tf.constant(x), scheme, None, *ends, live=0.0, given=tuple(given)
        )
        np.testing.assert_allclose(again, y, rtol=1e-6)
        np.testing.assert_allclose((slope, offset), given, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    sparsity=st.sampled_from(["2:4", "1:4", "4:8", "3:5", "1:2", 0.3, 0.5, 0.99]),
    shape=st.sampled_from([(3, 3, 8, 4), (1, 1, 10, 3), (33, 2), (3, 3, 1, 2), (1, 1)]),
    granularity=st.sampled_from(["tensor", "channel", "block"]),
    seed=st.integers(0, 2**16),
)
def test_sparsity_drops_the_smallest_and_they_are_exactly_zero(
    bits, sparsity, shape, granularity, seed
):
    x, upstream = arrays(shape, seed=seed)
    scheme = Scheme(bits=bits, sparsity=sparsity, granularity=granularity, block_size=12)
    expected = mask_by_hand(x, sparsity)
    np.testing.assert_array_equal(sparsity_mask(tf.constant(x), scheme), expected)
    for estimator in ("denoise", "ste"):
        one = Scheme(**{**scheme.get_config(), "estimator": estimator})
        y, gradient = value_and_gradient(lambda v, one=one: fake_quantize(v, one), x, upstream)
        assert not y[expected == 0].any() and np.isfinite(gradient).all()
        q = np.asarray(levels(tf.constant(x), one))
        assert not q[expected == 0].any()
        assert set(np.unique(q[expected == 1])) <= set(MEMBERS["linear", bits])


def test_of_equal_weights_the_first_stay():
    x = tf.ones((1, 1, 8, 3))
    mask = np.asarray(sparsity_mask(x, Scheme(sparsity="2:4")))
    np.testing.assert_array_equal(mask[0, 0, :, 1], [1, 1, 0, 0, 1, 1, 0, 0])


@settings(max_examples=40, deadline=None)
@given(scheme=schemes(), shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**16))
def test_levels_are_what_is_dequantized(scheme, shape, seed):
    """Members of the set, and one line through the origin or not from them to the values."""
    x, _ = arrays(shape, seed=seed)
    y, q = (np.asarray(f(tf.constant(x), scheme)) for f in (fake_quantize, levels))
    members = set(MEMBERS[scheme.grid, scheme.bits]) | ({0} if scheme.sparsity else set())
    assert set(np.unique(q)) <= members
    for channel in range(shape[-1]):
        mine, numbers = y[..., channel].ravel(), q[..., channel].ravel()
        order = np.argsort(numbers, kind="stable")
        assert (np.diff(mine[order]) >= -1e-5 * np.abs(mine).max()).all()
        assert len(np.unique(mine)) <= len(np.unique(numbers))


@pytest.mark.parametrize("grid", ["linear", "affine"])
def test_schemes_in_float(grid):
    x, _ = arrays((3, 3, 4, 2))
    scheme = Scheme(bits=32, grid=grid)
    np.testing.assert_allclose(fake_quantize(tf.constant(x), scheme), x, atol=1e-4)
    sparse = Scheme(bits=32, sparsity="2:4", ridge=0.0, estimator="ste")
    mask = mask_by_hand(x, "2:4")
    np.testing.assert_allclose(fake_quantize(tf.constant(x), sparse), x * mask, rtol=1e-6)
    np.testing.assert_array_equal(levels(tf.constant(x), sparse), mask)


@pytest.mark.parametrize("estimator", ["denoise", "ste"])
@pytest.mark.parametrize(
    ("bits", "options"),
    [
        (bits, options)
        for options in ({}, {"grid": "affine"}, {"sparsity": "2:4"})
        for bits in BITS
        if not (bits == "ternary" and options.get("grid") == "affine")  # ternary is linear
    ],
    ids=str,
)
def test_bfloat16(bits, estimator, options):
    scheme = Scheme(bits=bits, estimator=estimator, range="std", **options)
    x, upstream = arrays((3, 3, 8, 4))
    half, half_up = (tf.cast(v, tf.bfloat16) for v in (x, upstream))
    with tf.GradientTape() as tape:
        tape.watch(half)
        y = fake_quantize(half, scheme)
    gradient = tape.gradient(y, half, half_up)
    assert y.dtype == gradient.dtype == tf.bfloat16
    # The same values in float32; the result is then that, rounded to 8 bits of mantissa.
    reference = value_and_gradient(
        lambda v: fake_quantize(v, scheme),
        tf.cast(half, tf.float32).numpy(),
        tf.cast(half_up, tf.float32).numpy(),
    )
    for mine, theirs in zip((y, gradient), reference, strict=True):
        np.testing.assert_allclose(tf.cast(mine, tf.float32), theirs, rtol=2**-8, atol=1e-30)


HARD = {
    "zero": np.zeros((3, 3, 4, 2)),
    "constant": np.full((3, 3, 4, 2), 0.3),
    "negative constant": np.full((5, 3), -7.0),
    "huge constant": np.full((5, 3), 1e15),
    "single": np.array([[-2.0]]),
    "single zero": np.array([[0.0]]),
    "1e-30 to 1e30": np.array([[1e-30, 1e30], [-1e-30, 1.0], [1e30, -1e30]]),
    "1e15": np.array([[1e15, -1e15], [1e-15, 1.0], [3.0, -1e15]]),
    "tiny": np.array([[1e-30, -1e-30], [3e-30, 2e-30]]),
    "denormal": np.array([[1e-40, -1e-42], [3e-39, 2e-45]]),
    "one outlier": np.array([[1e20, 1.0], [1.0, 1.0], [1.0, 2.0]]),
    "a dead channel": np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]),
}


#: A sample of what goes together: (grid, bits), options.
HARD_SCHEMES = [
    Scheme(bits=bits, grid=grid, granularity=granularity, block_size=4, **options)
    for (grid, bits), granularity, options in itertools.product(
        [*(("linear", b) for b in (1, 2, "ternary", 8)), *(("affine", b) for b in (1, 2, 8))],
        ["tensor", "channel", "block"],
        [
            {},
            {"ridge": 0.0},
            {"range": "std", "clip_gradient": True},
            {"range": "percentile"},
            {"estimator": "ste"},
            {"estimator": "ste", "range": "std", "clip_gradient": True},
            {"sparsity": "2:4"},
            {"sparsity": 0.5, "range": "std", "estimator": "ste"},
        ],
    )
    if grid == "linear" or "sparsity" not in options
]


@pytest.mark.parametrize("kind", HARD)
def test_values_and_gradients_stay_finite(kind):
    x = HARD[kind].astype("float32")
    for scheme in HARD_SCHEMES:
        y, gradient = value_and_gradient(
            lambda v, scheme=scheme: fake_quantize(v, scheme), x, np.ones_like(x)
        )
        assert np.isfinite(y).all() and np.isfinite(gradient).all(), scheme
        # A range by deviations reaches 3.9 times as far as the elements at most.
        assert np.abs(y).max() <= 4 * np.abs(x).max() + 1e-30, scheme


def test_affine_constants_are_kept_to_the_bit():
    for value in (0.0, 0.3, -7.0, 1e15, 1e-30):
        x = np.full((4, 5), value, "float32")
        for bits in (1, 2, 8):
            for estimator in ("denoise", "ste"):
                scheme = Scheme(bits=bits, grid="affine", estimator=estimator)
                np.testing.assert_array_equal(fake_quantize(tf.constant(x), scheme), x)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_a_batch_of_one(granularity):
    scheme = Scheme(bits=4, grid="affine", granularity=granularity, range="std")
    x, upstream = arrays((1, 1, 1, 6))
    y, gradient = value_and_gradient(lambda v: fake_quantize(v, scheme), x, upstream)
    assert np.isfinite(y).all() and np.isfinite(gradient).all()
    if granularity == "channel":
        np.testing.assert_array_equal(y, x)  # one element a channel is its own mean


# Limits.


@pytest.mark.parametrize("granularity", ["tensor", "channel", "block"])
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_a_large_ridge_leaves_the_mean_of_each_group_or_nothing(bits, granularity):
    x, _ = arrays((3, 3, 8, 4), offset=0.5)
    options = {"bits": bits, "granularity": granularity, "block_size": 24, "ridge": 1e12}
    y = fake_quantize(tf.constant(x), Scheme(grid="affine", **options))
    means = {
        "tensor": np.full_like(x, x.mean()),
        "channel": np.broadcast_to(x.mean((0, 1, 2)), x.shape),
        "block": np.repeat(x.reshape(3, 24, 4).mean(1), 24, 0).reshape(x.shape),
    }
    np.testing.assert_allclose(y, means[granularity], atol=1e-5)
    assert np.abs(fake_quantize(tf.constant(x), Scheme(**options))).max() < 1e-6


@pytest.mark.parametrize("grid", ["linear", "affine"])
def test_no_ridge_and_8_bits_are_close_to_the_tensor(grid):
    x, upstream = arrays((3, 3, 8, 4), offset=0.5 if grid == "affine" else 0.0)
    scheme = Scheme(grid=grid, ridge=0.0)
    y, gradient = value_and_gradient(lambda v: fake_quantize(v, scheme), x, upstream)
    assert np.abs(y - x).max() <= 0.55 * np.abs(x).max() / 127
    assert np.abs(gradient - upstream).max() < 0.05 * np.abs(upstream).max()


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    affine=st.booleans(),
    ridge=st.sampled_from([0.0, 0.01, 3.0]),
    magnitude=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 2**16),
)
def test_no_other_line_is_a_better_regression(bits, affine, ridge, magnitude, seed):
    """g minimizes 1/(2N)·‖s·q + b − x‖² + λ/2·s² over s (and b)."""
    grid = "affine" if affine and bits != "ternary" else "linear"
    scheme = Scheme(bits=bits, grid=grid, granularity="tensor", ridge=ridge)
    x, _ = arrays((5, 40), magnitude, 0.3, seed)
    ends = tf.constant([[-magnitude]]), tf.constant([[magnitude]])
    _, slope, offset = transform(tf.constant(x), scheme, None, *ends)
    slope, offset = (float(v[0, 0]) for v in (slope, offset))
    low = -magnitude if grid == "affine" else 0.0
    s_f = (magnitude - low) / step_count(scheme)
    q = np.asarray(
        nearest_member(tf.constant((x - np.float32(low)) / np.float32(s_f)), scheme), "float64"
    )

    def objective(s, b):
        return np.mean((s * q + b - x) ** 2) / 2 + ridge / 2 * s**2

    best = objective(slope, offset)
    for ds, db in itertools.product((-1e-2, 0.0, 1e-2), (-1e-2, 0.0, 1e-2)):
        db = db if grid == "affine" else 0.0
        other = objective(slope * (1 + ds), offset + db * magnitude)
        assert best <= other * (1 + 1e-6)


def test_off_is_the_identity():
    x, upstream = arrays((3, 3, 4, 5))
    for options in ({}, {"grid": "affine"}, {"sparsity": "2:4"}, {"granularity": "block"}):
        for off in (False, tf.constant(False)):
            scheme = Scheme(bits=2, range="std", **options)
            y, gradient = value_and_gradient(
                lambda v, s=scheme, off=off: fake_quantize(v, s, on=off), x, upstream
            )
            np.testing.assert_array_equal(y, x)
            np.testing.assert_array_equal(gradient, upstream)
