"""Operators of two tensors, and changes of grid, against LiteRT's default CPU path."""

import numpy as np
import pytest
import tensorflow as tf
from against_device import (
    activations,
    assert_equal,
    centred,
    random_codes,
    random_grid,
    seeds,
    zero_point,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.integer import Constant, arithmetic
from mobilequant.integer.arithmetic import Grid

#: Squeeze-and-excite, attention masks, whole tensors; both orders.
SHAPES = [
    ((2, 5, 6, 7), (2, 5, 6, 7)),
    ((2, 5, 6, 7), (2, 1, 1, 7)),
    ((2, 1, 1, 7), (2, 5, 6, 7)),
    ((2, 4, 5, 3), (2, 4, 5, 1)),
    ((2, 6, 8), (2, 1, 8)),
    ((2, 7), (2, 1)),
    ((3, 1), (3, 9)),
    ((2, 3, 4, 5, 6), (2, 3, 1, 1, 6)),
]
CONSTANTS = [(), (1,), (7,), (1, 1, 7), (6, 1), (5, 6, 7)]

FUNCTIONS = {
    "ADD": arithmetic.add,
    "SUB": arithmetic.subtract,
    "MUL": arithmetic.multiply,
    "MAXIMUM": arithmetic.maximum,
    "MINIMUM": arithmetic.minimum,
}


def within(random, ratios):
    """A ratio, on a logarithmic scale: half the time where XNNPACK runs, else anywhere."""
    low, high = np.log2(ratios) if random.integers(2) else (-40, 8)
    return 2 ** random.uniform(low + 0.01, high - 0.01)


def grids(random, kind):
    """Grids of two operands and their result, in any ratio that the operator takes."""
    output = random_grid(random)
    if kind in ("MAXIMUM", "MINIMUM"):
        return output, output, output
    if kind == "MUL":
        a = random_grid(random)
        scale = output.scale * within(random, (2**-16, 256)) / a.scale
        return a, Grid(np.float32(scale), zero_point(random)), output
    while True:
        ratios = [within(random, (2**-10, 256)) for _ in range(2)]
        if arithmetic.adds_exactly(*ratios):
            break
    a, b = (Grid(np.float32(output.scale * ratio), zero_point(random)) for ratio in ratios)
    return a, b, output


def compute(kind, a, b, grid_a, grid_b, output, activation):
    if kind in ("MAXIMUM", "MINIMUM"):
        return FUNCTIONS[kind](a, b)
    return FUNCTIONS[kind](a, b, grid_a, grid_b, output, activation)


@pytest.mark.parametrize("kind", FUNCTIONS)
@settings(max_examples=60, deadline=None)
@given(seed=seeds, activation=activations, shapes=st.sampled_from(SHAPES))
def test_two_tensors(kind, seed, activation, shapes):
    random = np.random.default_rng(seed)
    a, b, output = grids(random, kind)
    if kind in ("MAXIMUM", "MINIMUM"):
        activation = "NONE"
    left, right = (random_codes(random, shape) for shape in shapes)
    ours = compute(kind, centred(left, a), centred(right, b), a, b, output, activation)
    assert_equal(kind, [(left, a), (right, b)], ours, output, activation=activation)


@pytest.mark.parametrize("kind", FUNCTIONS)
@settings(max_examples=30, deadline=None)
@given(
    seed=seeds, activation=activations, shape=st.sampled_from(CONSTANTS), place=st.integers(0, 1)
)
def test_tensor_and_constant(kind, seed, activation, shape, place):
    random = np.random.default_rng(seed)
    *operands, output = grids(random, kind)
    if kind in ("MAXIMUM", "MINIMUM"):
        activation = "NONE"
    codes, source = random_codes(random, (2, 5, 6, 7)), operands[1 - place]
    grid = operands[place]
    constant = Constant(random_codes(random, shape), grid.scale, int(grid.zero_point))
    values = [centred(codes, source), tf.constant(constant.centred)]
    ours = compute(kind, *(values if place else values[::-1]), *operands, output, activation)
    assert_equal(
        kind, [(codes, source)], ours, output, activation=activation, constants={place: constant}
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    # Past 16 elements LiteRT's own kernel would round otherwise than before.
    shape=st.sampled_from([(2, 3, 5), (1, 16), (2, 9, 7, 3)]),
    ratio=st.one_of(
        st.floats(-7.999, 6.999),
        # Ties, and the smallest.
        st.sampled_from([-8.0, -3.0, -1.0, 0.0, 1.0, 6.0]),
    ),
)
def test_rescale(seed, shape, ratio):
    random = np.random.default_rng(seed)
    source = Grid(np.float32(2.0 ** random.integers(-6, 2)), zero_point(random))
    output = Grid(np.float32(source.scale * 2.0**-ratio), zero_point(random))
    codes = random_codes(random, shape)
    ours = arithmetic.rescale(centred(codes, source), source, output)
    assert_equal("QUANTIZE", [(codes, source)], ours, output)
