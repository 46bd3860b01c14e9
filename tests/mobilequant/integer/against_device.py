"""One operator in LiteRT, and random integers and grids to hold ours against it."""

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from keras import ops

from mobilequant.integer import FrozenGraph, Operator, Tensor
from mobilequant.integer.arithmetic import Grid
from tflite_tools.emission import emit
from tflite_tools.interpreter import Interpreter

activations = st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
seeds = st.integers(0, 2**32 - 1)


def random_grid(random):
    """A scale anywhere within some powers of ten, and any zero point."""
    return Grid(np.float32(10 ** random.uniform(-3, 0.5)), zero_point(random))


def zero_point(random):
    """Any zero point, the ends and the middle more often."""
    some = random.choice([-128, 0, 127, *random.integers(-128, 128, size=9)])
    return np.float32(some)


def grid_at(random, scale, ratio):
    """A grid of which a scale is that many times its own."""
    return Grid(np.float32(scale / ratio), zero_point(random))


def random_codes(random, shape):
    """int8 integers over the whole range."""
    return random.integers(-128, 128, size=shape).astype(np.int8)


def tensor(name, shape, grid):
    """A tensor of a frozen graph; `shape` has a batch dimension."""
    return Tensor(name, tuple(shape[1:]), grid.scale, int(grid.zero_point))


def centred(codes, grid):
    """Centred integers for ours."""
    return tf.constant(codes.astype("float32") - grid.zero_point)


def codes_of(values, grid):
    """int8 integers of ours; all of them fit."""
    codes = ops.convert_to_numpy(values) + grid.zero_point
    assert codes.min() >= -128 and codes.max() <= 127
    np.testing.assert_array_equal(codes, np.rint(codes))
    return codes.astype(np.int8)


def device(operator, codes):
    """What LiteRT computes on its default path, for one array an input."""
    graph = FrozenGraph("test", "phone", operator.inputs, operator.outputs, [operator])
    return Interpreter(emit(graph, batch_size=len(codes[0]))).run(*codes)[0]


def assert_equal(kind, inputs, ours, output, **fields):
    """Our integers are those of LiteRT.

    Args:
        kind: Of the operator.
        inputs: A pair of int8 integers and their grid for each.
        ours: Our centred integers.
        output: Their grid.
        fields: Further fields of the `Operator`.
    """
    operator = Operator(
        kind,
        "layer",
        [tensor(f"x{i}", codes.shape, grid) for i, (codes, grid) in enumerate(inputs)],
        [tensor("y", ours.shape, output)],
        **fields,
    )
    theirs = device(operator, [codes for codes, _ in inputs])
    np.testing.assert_array_equal(codes_of(ours, output), theirs)
