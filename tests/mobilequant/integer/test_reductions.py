"""MEAN and SOFTMAX against LiteRT's default CPU path: all integers equal."""

import numpy as np
from against_device import assert_equal, centred, random_codes, random_grid, seeds, zero_point
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import Grid


@settings(max_examples=80, deadline=None)
@given(
    seed=seeds,
    case=st.sampled_from(
        [
            ((2, 1, 1, 9), (1, 2)),
            ((2, 3, 5, 9), (1, 2)),
            ((2, 12, 11, 64), (1, 2)),
            ((2, 5, 6, 7), (1,)),
            ((2, 5, 6, 7), (2,)),
            ((2, 5, 6, 7), (3,)),
            ((2, 5, 6, 7), (1, 3)),
            ((2, 5, 6, 7), (2, 3)),
            ((2, 9, 5), (1,)),
            ((2, 9, 5), (2,)),
        ]
    ),
    keepdims=st.booleans(),
    ratio=st.floats(-6, 6),
)
def test_mean(seed, case, keepdims, ratio):
    random = np.random.default_rng(seed)
    (shape, axes), source = case, random_grid(random)
    output = Grid(np.float32(source.scale * 2**ratio), zero_point(random))
    codes = random_codes(random, shape)
    ours = arithmetic.mean(centred(codes, source), source, output, axes, keepdims)
    options = {"axes": axes, "keepdims": keepdims}
    assert_equal("MEAN", [(codes, source)], ours, output, options=options)


def test_mean_of_more_than_float32_sums_exactly():
    random = np.random.default_rng(0)
    source = Grid(np.float32(0.1), np.float32(-128))
    # Values of one side only, so that the sum is far from 0: 300 · 300 · 255 > 2²⁴.
    codes = np.maximum(random_codes(random, (1, 300, 300, 2)), 100)
    output = Grid(np.float32(0.15), np.float32(-120))
    ours = arithmetic.mean(centred(codes, source), source, output, (1, 2), False)
    options = {"axes": (1, 2), "keepdims": False}
    assert_equal("MEAN", [(codes, source)], ours, output, options=options)


@settings(max_examples=80, deadline=None)
@given(
    seed=seeds,
    shape=st.sampled_from([(4, 2), (4, 10), (2, 1000), (2, 5, 17), (2, 3, 7, 196), (3, 40, 49)]),
    beta=st.sampled_from([1.0, 1.0, 0.5, 2.0, 0.1767]),
    scale=st.floats(-3, 0),
)
def test_softmax(seed, shape, beta, scale):
    """To the integer on this processor: whatever follows attention depends on it."""
    random = np.random.default_rng(seed)
    source = Grid(np.float32(10**scale), zero_point(random))
    codes = random_codes(random, shape)
    ours = arithmetic.softmax(centred(codes, source), source, beta=beta)
    grid = arithmetic.SOFTMAX_GRID
    assert_equal("SOFTMAX", [(codes, source)], ours, grid, options={"beta": beta})
