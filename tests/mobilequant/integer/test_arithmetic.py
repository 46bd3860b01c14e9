"""Every integer operator against LiteRT's default CPU path: all integers equal."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mobilequant.integer import FrozenGraph, Operator, Tensor, Weights, arithmetic, products
from mobilequant.integer.arithmetic import Grid
from tflite_tools.emission import emit
from tflite_tools.interpreter import Interpreter

EXAMPLES = 40


def random_grid(random):
    """A scale anywhere within some powers of ten, and any zero point."""
    return Grid(np.float32(10 ** random.uniform(-3, 0.5)), np.float32(random.integers(-128, 128)))


def tensor(name, shape, grid):
    return Tensor(name, tuple(shape[1:]), grid.scale, int(grid.zero_point))


def random_codes(random, shape):
    return random.integers(-128, 128, size=shape).astype(np.int8)


def device(operator, inputs, codes):
    """What LiteRT computes."""
    target = _everything()
    graph = FrozenGraph("test", target.name, inputs, operator.outputs, [operator])
    file = emit(graph, target=target, batch_size=len(codes[0]))
    return Interpreter(file).run(*codes)[0]


def _everything():
    from mobilequant import targets

    return targets.get("phone")


def centred(codes, grid):
    return tf.constant(codes.astype("float32") - grid.zero_point)


def codes_of(values, grid):
    return (ops.convert_to_numpy(values) + grid.zero_point).astype(np.int8)


def output_grid(random, spread):
    """A grid that values of that standard deviation fill, and now and then overflow."""
    scale = np.float32(max(spread, 1e-6) * 10 ** random.uniform(-2.5, -1))
    return Grid(scale, np.float32(random.integers(-128, 128)))


activations = st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
seeds = st.integers(0, 2**32 - 1)


def weighted(random, kind, kernel_shape, channels, source, activation, spread, **options):
    """Random integers, scales and biases, and the operator with them."""
    scales = (10 ** random.uniform(-4, -2, size=channels)).astype("float32")
    if kind == "FULLY_CONNECTED":
        scales = scales[:1]
    values = random.integers(-127, 128, size=kernel_shape).astype(np.int8)
    deviation = float(source.scale) * float(np.mean(scales)) * 74 * 74 * np.sqrt(spread)
    output = output_grid(random, deviation)
    bias = (random.normal(size=channels) * 74 * 74 * np.sqrt(spread)).astype(np.int32)
    return Weights(values, scales, 8, bias), output


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    seed=seeds,
    activation=activations,
    channels=st.sampled_from([1, 3, 24, 600]),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 5)]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from(["same", "valid"]),
)
def test_convolution(seed, activation, channels, kernel, stride, padding):
    random = np.random.default_rng(seed)
    shape, filters = (2, 7, 8, channels), int(random.integers(1, 17))
    source = random_grid(random)
    taps = kernel[0] * kernel[1] * channels
    weights, output = weighted(
        random, "CONV_2D", (*kernel, channels, filters), filters, source, activation, taps
    )
    codes = random_codes(random, shape)
    ours = arithmetic.convolution(
        centred(codes, source),
        tf.constant(weights.values.astype("float32")),
        127,
        tf.constant(weights.bias),
        arithmetic.multiplier(source.scale, tf.constant(weights.scales), output.scale),
        output,
        activation,
        strides=(stride, stride),
        padding=padding,
        dilation=(1, 1),
    )
    operator = Operator(
        "CONV_2D",
        "convolution",
        [tensor("x", shape, source)],
        [tensor("y", ours.shape, output)],
        weights,
        activation,
        {"strides": (stride, stride), "dilation": (1, 1), "padding": padding.upper()},
    )
    np.testing.assert_array_equal(
        codes_of(ours, output), device(operator, operator.inputs, [codes])
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    seed=seeds,
    activation=activations,
    channels=st.sampled_from([1, 5, 32]),
    multiplier=st.sampled_from([1, 2]),
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from(["same", "valid"]),
)
def test_depthwise_convolution(seed, activation, channels, multiplier, kernel, stride, padding):
    random = np.random.default_rng(seed)
    shape, source = (2, 9, 8, channels), random_grid(random)
    weights, output = weighted(
        random,
        "DEPTHWISE_CONV_2D",
        (kernel, kernel, channels, multiplier),
        channels * multiplier,
        source,
        activation,
        kernel * kernel,
    )
    codes = random_codes(random, shape)
    ours = arithmetic.depthwise_convolution(
        centred(codes, source),
        tf.constant(weights.values.astype("float32")),
        127,
        tf.constant(weights.bias),
        arithmetic.multiplier(source.scale, tf.constant(weights.scales), output.scale),
        output,
        activation,
        strides=(stride, stride),
        padding=padding,
        dilation=(1, 1),
    )
    operator = Operator(
        "DEPTHWISE_CONV_2D",
        "depthwise",
        [tensor("x", shape, source)],
        [tensor("y", ours.shape, output)],
        weights,
        activation,
        {
            "strides": (stride, stride),
            "dilation": (1, 1),
            "padding": padding.upper(),
            "multiplier": multiplier,
        },
    )
    np.testing.assert_array_equal(
        codes_of(ours, output), device(operator, operator.inputs, [codes])
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds, activation=activations, inputs=st.sampled_from([1, 64, 1280]))
def test_fully_connected(seed, activation, inputs):
    random = np.random.default_rng(seed)
    units, source = int(random.integers(1, 40)), random_grid(random)
    weights, output = weighted(
        random, "FULLY_CONNECTED", (inputs, units), units, source, activation, inputs
    )
    codes = random_codes(random, (3, inputs))
    ours = arithmetic.fully_connected(
        centred(codes, source),
        tf.constant(weights.values.astype("float32")),
        127,
        tf.constant(weights.bias),
        arithmetic.multiplier(source.scale, tf.constant(weights.scales), output.scale),
        output,
        activation,
    )
    operator = Operator(
        "FULLY_CONNECTED",
        "dense",
        [tensor("x", codes.shape, source)],
        [tensor("y", ours.shape, output)],
        weights,
        activation,
    )
    np.testing.assert_array_equal(
        codes_of(ours, output), device(operator, operator.inputs, [codes])
    )


def test_sums_beyond_two_to_the_24_are_exact():
    """All products at their largest: what a single float32 sum would round."""
    channels = 2048
    source, output = Grid(np.float32(1), np.float32(-128)), Grid(np.float32(1e5), np.float32(0))
    values = np.full((channels, 2), 127, np.int8)
    values[0, 1] = 126
    codes = np.full((1, channels), 127, np.int8)
    accumulator = products._exact_products(
        ops.matmul, centred(codes, source), tf.constant(values.astype("float32")), 127, groups=1
    )
    expected = (codes.astype(np.int64) + 128) @ values.astype(np.int64)
    assert expected.max() > 2**24 and expected[0, 0] != expected[0, 1]
    np.testing.assert_array_equal(ops.convert_to_numpy(accumulator), expected)
    split = products._split_weights(
        ops.matmul, centred(codes, source), tf.constant(values.astype("float32")), channels
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(split), expected)
    del output


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds, activation=activations, ratio=st.floats(-2.5, 2.0), other=st.floats(-2.5, 2.0))
def test_add(seed, activation, ratio, other):
    random = np.random.default_rng(seed)
    output = random_grid(random)
    a = Grid(np.float32(output.scale * 10**ratio), np.float32(random.integers(-128, 128)))
    b = Grid(np.float32(output.scale * 10**other), np.float32(random.integers(-128, 128)))
    shape = (2, 5, 5, 7)
    left, right = random_codes(random, shape), random_codes(random, shape)
    ours = arithmetic.add(centred(left, a), centred(right, b), a, b, output, activation)
    operator = Operator(
        "ADD",
        "add",
        [tensor("a", shape, a), tensor("b", shape, b)],
        [tensor("y", shape, output)],
        activation=activation,
    )
    np.testing.assert_array_equal(
        codes_of(ours, output), device(operator, operator.inputs, [left, right])
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    seed=seeds,
    size=st.sampled_from([(1, 1), (3, 5), (7, 7), (12, 11)]),
    keepdims=st.booleans(),
    ratio=st.floats(-1.5, 1.5),
)
def test_mean(seed, size, keepdims, ratio):
    random = np.random.default_rng(seed)
    source = random_grid(random)
    output = Grid(np.float32(source.scale * 10**ratio), np.float32(random.integers(-128, 128)))
    shape = (2, *size, 9)
    codes = random_codes(random, shape)
    ours = arithmetic.mean(centred(codes, source), source, output, (1, 2), keepdims)
    operator = Operator(
        "MEAN",
        "mean",
        [tensor("x", shape, source)],
        [tensor("y", ours.shape, output)],
        options={"axes": (1, 2), "keepdims": keepdims},
    )
    np.testing.assert_array_equal(
        codes_of(ours, output), device(operator, operator.inputs, [codes])
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds, classes=st.sampled_from([2, 10, 1000]))
def test_softmax_within_one_step(seed, classes):
    random = np.random.default_rng(seed)
    source, output = random_grid(random), Grid(np.float32(1 / 256), np.float32(-128))
    codes = random_codes(random, (4, classes))
    ours = codes_of(arithmetic.softmax(centred(codes, source), source, output), output)
    operator = Operator(
        "SOFTMAX",
        "softmax",
        [tensor("x", codes.shape, source)],
        [tensor("y", codes.shape, output)],
        options={"beta": 1.0},
    )
    theirs = device(operator, operator.inputs, [codes])
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("operation", ["mean", "add", "convolution"])
def test_the_same_integers_in_a_graph_and_under_xla(operation):
    random = np.random.default_rng(5)
    x = tf.constant(random.integers(-255, 256, size=(4, 7, 7, 640)).astype("float32"))
    kernel = tf.constant(random.integers(-127, 128, size=(1, 1, 640, 32)).astype("float32"))
    a, b, y = (tf.constant(v, tf.float32) for v in (0.0231, 0.0517, 0.0309))
    z = tf.constant(3.0)

    def run(v):
        if operation == "mean":
            return arithmetic.mean(v, Grid(a, z), Grid(y, z), (1, 2), False)
        if operation == "add":
            return arithmetic.add(v, v[::-1], Grid(a, z), Grid(b, z), Grid(y, z))
        scaling = arithmetic.multiplier(a, b * tf.ones(32), y * 3e3)
        return arithmetic.convolution(
            v,
            kernel,
            127,
            tf.zeros(32, tf.int32),
            scaling,
            Grid(y, z),
            "NONE",
            strides=(1, 1),
            padding="same",
            dilation=(1, 1),
        )

    eager = run(x).numpy()
    assert len(np.unique(eager)) > 5
    for jit in (False, True):
        np.testing.assert_array_equal(tf.function(run, jit_compile=jit)(x).numpy(), eager)
