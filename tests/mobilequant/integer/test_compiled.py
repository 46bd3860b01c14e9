"""The same integers eagerly, in a graph and under XLA."""

import numpy as np
import pytest
import tensorflow as tf

from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import Grid

A, B, Y, Z = (tf.constant(number, tf.float32) for number in (0.0231, 0.0517, 0.0309, 3.0))
SOURCE, OTHER, OUTPUT = Grid(A, Z), Grid(B, Z), Grid(Y, Z)


def convolution(x, kernel):
    scaling = arithmetic.multiplier(A, B * tf.ones(32), Y * 3e3)
    return arithmetic.convolution(
        x, kernel, 127, tf.zeros(32, tf.int32), scaling, OUTPUT, "NONE",
        strides=(1, 1), padding="same", dilation=(1, 1),
    )  # fmt: skip


OPERATIONS = {
    "mean": lambda x, _: arithmetic.mean(x, SOURCE, OUTPUT, (1, 2), False),
    "add": lambda x, _: arithmetic.add(x, x[::-1], SOURCE, OTHER, OUTPUT),
    "multiply": lambda x, _: arithmetic.multiply(x, x[::-1], SOURCE, OTHER, Grid(Y / 9, Z)),
    "rescale": lambda x, _: arithmetic.rescale(x, SOURCE, OUTPUT),
    "convolution": convolution,
    "batch_matmul": lambda x, _: arithmetic.batch_matmul(
        x, x[::-1], SOURCE, OTHER, Grid(Y * 50, Z), adj_y=True
    ),
    "softmax": lambda x, _: arithmetic.softmax(x[..., :20], SOURCE),
    "average_pool": lambda x, _: arithmetic.average_pool(
        x, SOURCE, pool_size=(3, 3), strides=(2, 1), padding="same"
    ),
    "resize_bilinear": lambda x, _: arithmetic.resize_bilinear(x, (9, 11)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name):
    random = np.random.default_rng(5)
    x = tf.constant(random.integers(-131, 125, size=(4, 7, 7, 640)).astype("float32"))
    kernel = tf.constant(random.integers(-127, 128, size=(1, 1, 640, 32)).astype("float32"))
    eager = OPERATIONS[name](x, kernel).numpy()
    assert len(np.unique(eager)) > 5
    for jit in (False, True):
        compiled = tf.function(OPERATIONS[name], jit_compile=jit, autograph=False)
        np.testing.assert_array_equal(compiled(x, kernel).numpy(), eager)


@pytest.mark.parametrize("kind", arithmetic.FUNCTIONS)
def test_function_table(kind):
    random = np.random.default_rng(5)
    options = {"alpha": 0.3} if kind in ("LEAKY_RELU", "PRELU") else {}

    def table(*numbers):
        return arithmetic.function_table(kind, Grid(*numbers[:2]), Grid(*numbers[2:]), **options)

    compiled = [tf.function(table, jit_compile=jit, autograph=False) for jit in (False, True)]
    for _ in range(20):
        scale = 2.0 ** random.uniform(-9, 3)
        zero_points = random.integers(-128, 128, 2)
        numbers = (scale, zero_points[0], scale / 2.0 ** random.uniform(-6, 6), zero_points[1])
        numbers = [tf.constant(number, tf.float32) for number in numbers]
        eager = table(*numbers).numpy()
        for function in compiled:
            np.testing.assert_array_equal(function(*numbers).numpy(), eager)
