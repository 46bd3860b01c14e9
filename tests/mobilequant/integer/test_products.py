"""Sums of products against LiteRT's default CPU path: all integers equal."""

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
from keras import ops

from mobilequant.integer import Weights, arithmetic, products
from mobilequant.integer.arithmetic import Grid

#: Standard deviation of an integer drawn from the whole of int8.
DEVIATION = 74

paddings = st.sampled_from(["same", "valid"])


def weighted(random, kernel_shape, channels, source, terms, per_tensor=False):
    """Random integers, scales and biases, and an output grid that the sums fill."""
    scales = (10 ** random.uniform(-4, -2, size=1 if per_tensor else channels)).astype("float32")
    values = random.integers(-127, 128, size=kernel_shape).astype(np.int8)
    spread = DEVIATION**2 * np.sqrt(terms)
    # Now and then it overflows.
    fill = 10 ** random.uniform(-2.5, -1)
    output = Grid(np.float32(source.scale * scales.mean() * spread * fill), zero_point(random))
    bias = (random.normal(size=channels) * spread).astype(np.int32)
    return Weights(values, scales, 8, bias), output


def operands(weights, source, output, activation):
    """What every function here takes behind its input."""
    return (
        tf.constant(weights.values.astype("float32")),
        127,
        tf.constant(weights.bias),
        arithmetic.multiplier(source.scale, tf.constant(weights.scales), output.scale),
        output,
        activation,
    )


def check_convolution(seed, activation, padding, shape, kernel, filters, groups=1, **options):
    random = np.random.default_rng(seed)
    source, channels = random_grid(random), shape[-1] // groups
    terms = kernel[0] * kernel[1] * channels
    weights, output = weighted(random, (*kernel, channels, filters), filters, source, terms)
    codes = random_codes(random, shape)
    ours = arithmetic.convolution(
        centred(codes, source),
        *operands(weights, source, output, activation),
        padding=padding,
        **options,
    )
    assert_equal(
        "CONV_2D", [(codes, source)], ours, output, weights=weights, activation=activation,
        options={**options, "padding": padding.upper()},
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    activation=activations,
    channels=st.sampled_from([1, 3, 24, 600]),
    filters=st.integers(1, 16),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 5)]),
    stride=st.sampled_from([1, 2]),
    padding=paddings,
)
def test_convolution(seed, activation, channels, filters, kernel, stride, padding):
    check_convolution(
        seed, activation, padding, (2, 7, 8, channels), kernel, filters,
        strides=(stride, stride), dilation=(1, 1),
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    seed=seeds,
    activation=activations,
    kernel=st.sampled_from([(2, 3), (3, 3)]),
    dilation=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=paddings,
)
def test_dilated_convolution(seed, activation, kernel, dilation, padding):
    check_convolution(
        seed, activation, padding, (2, 13, 15, 6), kernel, 5, strides=(1, 1), dilation=dilation
    )


@settings(max_examples=30, deadline=None)
@given(
    seed=seeds,
    activation=activations,
    groups=st.integers(2, 4),
    stride=st.sampled_from([1, 2]),
    padding=paddings,
)
def test_grouped_convolution(seed, activation, groups, stride, padding):
    check_convolution(
        seed, activation, padding, (2, 9, 8, 6 * groups), (3, 2), 5 * groups, groups,
        strides=(stride, stride), dilation=(1, 1),
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    seed=seeds,
    activation=activations,
    channels=st.sampled_from([1, 5, 32]),
    multiplier=st.sampled_from([1, 2]),
    kernel=st.sampled_from([3, 5]),
    move=st.sampled_from([(1, (1, 1)), (2, (1, 1)), (1, (2, 2)), (1, (3, 1))]),
    padding=paddings,
)
def test_depthwise_convolution(seed, activation, channels, multiplier, kernel, move, padding):
    random = np.random.default_rng(seed)
    source, (stride, dilation) = random_grid(random), move
    shape = (kernel, kernel, channels, multiplier)
    weights, output = weighted(random, shape, channels * multiplier, source, kernel**2)
    codes = random_codes(random, (2, 13, 14, channels))
    options = {"strides": (stride, stride), "dilation": dilation}
    ours = arithmetic.depthwise_convolution(
        centred(codes, source),
        *operands(weights, source, output, activation),
        padding=padding,
        **options,
    )
    options |= {"padding": padding.upper(), "multiplier": multiplier}
    assert_equal(
        "DEPTHWISE_CONV_2D", [(codes, source)], ours, output, weights=weights,
        activation=activation, options=options,
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    channels=st.sampled_from([1, 3, 600]),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=paddings,
)
def test_transposed_convolution(seed, channels, kernel, strides, padding):
    if padding == "same":
        kernel = tuple(np.maximum(kernel, strides).tolist())
    random = np.random.default_rng(seed)
    source, filters = random_grid(random), int(random.integers(1, 9))
    terms = kernel[0] * kernel[1] * channels
    weights, output = weighted(random, (*kernel, filters, channels), filters, source, terms)
    codes = random_codes(random, (2, 5, 6, channels))
    ours = arithmetic.transposed_convolution(
        centred(codes, source),
        *operands(weights, source, output, "NONE"),
        strides=strides,
        padding=padding,
    )
    options = {"strides": strides, "padding": padding.upper()}
    assert_equal(
        "TRANSPOSE_CONV", [(codes, source)], ours, output, weights=weights, options=options
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    activation=activations,
    shape=st.sampled_from([(3, 1), (3, 64), (3, 1280), (2, 5, 16), (2, 3, 4, 16), (1, 7, 900)]),
)
def test_fully_connected(seed, activation, shape):
    random = np.random.default_rng(seed)
    units, inputs, source = int(random.integers(1, 40)), shape[-1], random_grid(random)
    weights, output = weighted(random, (inputs, units), units, source, inputs, per_tensor=True)
    codes = random_codes(random, shape)
    ours = arithmetic.fully_connected(
        centred(codes, source), *operands(weights, source, output, activation)
    )
    assert ours.shape == (*shape[:-1], units)
    assert_equal(
        "FULLY_CONNECTED", [(codes, source)], ours, output, weights=weights, activation=activation
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    batch=st.sampled_from([(2,), (2, 3), (1, 4)]),
    inner=st.sampled_from([1, 7, 64, 196, 1100]),
    adj=st.tuples(st.booleans(), st.booleans()),
    symmetric=st.booleans(),
)
def test_batch_matmul(seed, batch, inner, adj, symmetric):
    """The right zero point decides which of two kernels runs."""
    random = np.random.default_rng(seed)
    rows, columns = (int(n) for n in random.integers(1, 30, 2))
    a, b = random_grid(random), random_grid(random)
    if symmetric:
        b = Grid(b.scale, np.float32(0))
    left = random_codes(random, (*batch, *((inner, rows) if adj[0] else (rows, inner))))
    right = random_codes(random, (*batch, *((columns, inner) if adj[1] else (inner, columns))))
    # The finest of these grids overflow, and their multipliers come near the largest.
    spread = DEVIATION**2 * np.sqrt(inner) * 10 ** random.uniform(-3, -1)
    output = Grid(np.float32(a.scale * b.scale * spread), zero_point(random))
    options = dict(zip(("adj_x", "adj_y"), adj, strict=True))
    ours = arithmetic.batch_matmul(centred(left, a), centred(right, b), a, b, output, **options)
    assert_equal("BATCH_MATMUL", [(left, a), (right, b)], ours, output, options=options)


@pytest.mark.parametrize("split", ["channels", "weights"])
def test_sums_beyond_two_to_the_24_are_exact(split):
    """All products at their largest: what a single float32 sum would round."""
    channels = 2048
    values = np.full((channels, 2), 127, np.int8)
    values[0, 1] = 126
    codes = np.full((1, channels), 127, np.int8)
    x = centred(codes, Grid(np.float32(1), np.float32(-128)))
    kernel = tf.constant(values.astype("float32"))
    if split == "channels":
        accumulator = products._exact_products(ops.matmul, x, kernel, 127, groups=1)
    else:
        accumulator = products._split_weights(ops.matmul, x, kernel, channels)
    expected = (codes.astype(np.int64) + 128) @ values.astype(np.int64)
    assert expected.max() > 2**24 and expected[0, 0] != expected[0, 1]
    np.testing.assert_array_equal(ops.convert_to_numpy(accumulator), expected)


def test_batches_of_matrices_count_their_inner_size_only():
    """The leading dimensions of the right operand are no terms of a sum."""
    x = tf.fill((2, 300, 4, 8), 255.0)
    y = tf.fill((2, 300, 8, 4), 128.0)
    grid, output = Grid(np.float32(1), np.float32(0)), Grid(np.float32(1e4), np.float32(0))
    ours = arithmetic.batch_matmul(x, y, grid, grid, output)
    np.testing.assert_array_equal(ours, np.full((2, 300, 4, 4), 26))
