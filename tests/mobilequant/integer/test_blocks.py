"""Several operators in one file: the runtime may not join what Keras computes one by one."""

import numpy as np
import tensorflow as tf
from against_device import centred, codes_of, random_codes, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.integer import Constant, FrozenGraph, Operator, arithmetic
from mobilequant.integer.arithmetic import Grid
from tflite_tools.emission import emit
from tflite_tools.interpreter import Interpreter


class Block:
    """Computes with our arithmetic and writes down the operators that do the same."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.graph = FrozenGraph("block", "phone", [], [], [])
        self.codes = []

    def input(self, shape, scale):
        grid = Grid(np.float32(scale), self.middle())
        codes = random_codes(self.random, shape)
        self.codes.append(codes)
        self.graph.inputs.append(tensor(f"x{len(self.codes)}", shape, grid))
        return centred(codes, grid), grid, self.graph.inputs[-1]

    def grid(self, scale):
        """A grid of about that scale."""
        return Grid(np.float32(scale * 2 ** self.random.uniform(-1, 1)), self.middle())

    def middle(self):
        """A zero point that leaves room on both sides."""
        return np.float32(self.random.integers(-40, 41))

    def apply(self, kind, ours, output, *inputs, **fields):
        name = f"{kind}{len(self.graph.operators)}"
        y = tensor(name, ours.shape, output)
        described = [described for _, _, described in inputs]
        self.graph.operators.append(Operator(kind, name, described, [y], **fields))
        return ours, output, y

    def function(self, kind, x, output=None, **options):
        output = output or arithmetic.FIXED_GRIDS[kind]
        table = arithmetic.function_table(kind, x[1], output, **options)
        return self.apply(kind, arithmetic.lookup(x[0], x[1], table), output, x, options=options)

    def multiply(self, a, b, output, **fields):
        ours = arithmetic.multiply(a[0], b[0], a[1], b[1], output)
        return self.apply("MUL", ours, output, a, b, **fields)

    def matmul(self, a, b, output, **options):
        ours = arithmetic.batch_matmul(a[0], b[0], a[1], b[1], output, **options)
        return self.apply("BATCH_MATMUL", ours, output, a, b, options=options)

    def check(self, *outputs):
        self.graph.outputs = [described for _, _, described in outputs]
        file = emit(self.graph, batch_size=len(self.codes[0]))
        found = Interpreter(file).run(*self.codes)
        for (ours, grid, _), theirs in zip(outputs, found, strict=True):
            assert len(np.unique(theirs)) > 1
            np.testing.assert_array_equal(codes_of(ours, grid), theirs)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_squeeze_and_excite(seed):
    b = Block(seed)
    x = b.input((2, 6, 5, 8), 0.05)
    x = b.function("HARD_SWISH", x, b.grid(0.03))
    grid = b.grid(0.04)
    pooled = b.apply(
        "MEAN", arithmetic.mean(x[0], x[1], grid, (1, 2), True), grid, x,
        options={"axes": (1, 2), "keepdims": True},
    )  # fmt: skip
    gate = b.function("LOGISTIC", pooled)
    b.check(b.multiply(x, gate, b.grid(0.03)), gate)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_hard_swish_of_additions_and_products(seed):
    """relu6(x + 3) · 1/6 · x, as it is lowered where HARD_SWISH is slow."""
    b = Block(seed)
    x = b.input((2, 6, 5, 8), 0.05)
    three, sixth = Constant.of(3.0), Constant.of(1 / 6)
    grid = Grid(np.float32(6 / 255), np.float32(-128))
    shifted = arithmetic.add(
        x[0], tf.constant(three.centred), x[1], Grid(three.scale, 0.0), grid, "RELU6"
    )
    gate = b.apply("ADD", shifted, grid, x, activation="RELU6", constants={1: three})
    grid = Grid(np.float32(1 / 255), np.float32(-128))
    sixths = arithmetic.multiply(
        gate[0], tf.constant(sixth.centred), gate[1], Grid(sixth.scale, 0.0), grid
    )
    gate = b.apply("MUL", sixths, grid, gate, constants={1: sixth})
    b.check(b.multiply(x, gate, b.grid(0.03)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), symmetric=st.booleans())
def test_attention(seed, symmetric):
    b = Block(seed)
    queries, keys, values = (b.input((2, 4, 30, 16), 0.03) for _ in range(3))
    if symmetric:
        for described in b.graph.inputs[1:]:
            described.zero_point = 0
        keys, values = (
            (x + grid.zero_point, Grid(grid.scale, np.float32(0)), described)
            for x, grid, described in (keys, values)
        )
    scores = b.matmul(queries, keys, b.grid(0.2), adj_y=True)
    grid = arithmetic.SOFTMAX_GRID
    weights = b.apply(
        "SOFTMAX", arithmetic.softmax(scores[0], scores[1], beta=0.25), grid, scores,
        options={"beta": 0.25},
    )  # fmt: skip
    mixed = b.matmul(weights, values, b.grid(0.02))
    swapped = tf.transpose(mixed[0], (0, 2, 1, 3))
    heads = b.apply("TRANSPOSE", swapped, mixed[1], mixed, options={"permutation": (0, 2, 1, 3)})
    joined = b.apply("RESHAPE", tf.reshape(swapped, (2, 30, 64)), mixed[1], heads)
    b.check(b.function("GELU", joined, b.grid(0.02)), scores)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_upsampling_and_concatenation(seed):
    """The branch whose range differs is requantized before."""
    b = Block(seed)
    x, skip = b.input((2, 5, 4, 6), 0.05), b.input((2, 10, 8, 3), 0.03)
    options = {"align_corners": False, "half_pixel_centers": True}
    large = arithmetic.resize_bilinear(x[0], (10, 8), **options)
    large = b.apply("RESIZE_BILINEAR", large, x[1], x, options=options)
    grid = b.grid(0.05)
    parts = [
        b.apply("QUANTIZE", arithmetic.rescale(part[0], part[1], grid), grid, part)
        for part in (large, skip)
    ]
    joined = tf.concat([part[0] for part in parts], axis=-1)
    joined = b.apply("CONCATENATION", joined, grid, *parts, options={"axis": 3})
    pooling = {"pool_size": (2, 2), "strides": (2, 2)}
    pooled = arithmetic.average_pool(joined[0], grid, padding="same", **pooling)
    b.check(
        b.apply("AVERAGE_POOL_2D", pooled, grid, joined, options={**pooling, "padding": "SAME"})
    )
