"""The affine matrix product against the product of the dequantized matrices."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.quantizers import Scheme, affine_matmul, range_of, step_count, transform


def dequantized(q, scale, offset, block, axis):
    """Real values, one block of the inner dimension after the other, in double precision."""
    q, scale, offset = (np.asarray(v, "float64") for v in (q, scale, offset))
    if block and scale.shape[axis] > 1:
        take = np.arange(q.shape[axis]) // block
        scale, offset = np.take(scale, take, axis), np.take(offset, take, axis)
    return scale * q + offset


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    inner=st.integers(1, 70),
    columns=st.integers(1, 9),
    block=st.sampled_from([None, 1, 8, 32, 64, 100]),
    x_kind=st.sampled_from(["tensor", "row", "block"]),
    w_kind=st.sampled_from(["tensor", "column", "block"]),
    bits=st.sampled_from([1, 2, 4, 8]),
    dtype=st.sampled_from(["int8", "int32", "float32"]),
    seed=st.integers(0, 2**16),
)
def test_equals_the_product_of_the_dequantized_matrices(
    rows, inner, columns, block, x_kind, w_kind, bits, dtype, seed
):
    """Per tensor, per row × per column, by block with a short last block, in any mixture."""
    random = np.random.default_rng(seed)
    # int8 holds the affine set moved down by half.
    low = -(2 ** (bits - 1)) if dtype == "int8" else 0
    blocks = 1 if block is None else -(-inner // block)
    x_shape = {"tensor": (1, 1), "row": (rows, 1), "block": (rows, blocks)}[x_kind]
    w_shape = {"tensor": (1, 1), "column": (1, columns), "block": (blocks, columns)}[w_kind]

    def operand(shape, scales):
        q = random.integers(low, low + 2**bits, size=shape).astype(dtype)
        scale = random.uniform(0.01, 2, scales).astype("float32")
        return q, scale, random.normal(size=scales).astype("float32")

    x, w = operand((rows, inner), x_shape), operand((inner, columns), w_shape)
    left, right = dequantized(*x, block, 1), dequantized(*w, block, 0)
    product = affine_matmul(*map(tf.constant, (*x, *w)), block=block)
    assert product.dtype == tf.float32 and product.shape == (rows, columns)
    bound = np.abs(left) @ np.abs(right)  # float32 rounds each term
    assert (np.abs(product - left @ right) <= 1e-5 * bound + 1e-6).all()


@pytest.mark.parametrize("estimator", ["denoise", "ste"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_multiplies_what_the_transform_dequantizes(estimator, bits):
    """X̃W̃ of arXiv:2409.09245: per row of X, per column of W, both affine."""
    random = np.random.default_rng(bits)
    scheme = Scheme(bits=bits, grid="affine", granularity="tensor", estimator=estimator)

    def quantized(values, axis):
        values = tf.constant(values.astype("float32"))
        y, slope, offset = transform(values, scheme, (axis,), *range_of(values, scheme, (axis,)))
        q = np.round((y - offset) / slope)
        np.testing.assert_allclose(slope * q + offset, y, atol=1e-5)
        assert q.min() >= 0 and q.max() <= step_count(scheme)
        return y, (tf.constant(q.astype("int32")), slope, offset)

    y_x, x = quantized(random.normal(size=(6, 50)) + 0.5, 1)
    y_w, w = quantized(random.normal(size=(50, 7)) - 0.2, 0)
    product = affine_matmul(*x, *w)
    np.testing.assert_allclose(product, y_x @ y_w, rtol=1e-4, atol=2e-4)


def test_multiplies_what_the_transform_dequantizes_by_block():
    random = np.random.default_rng(0)
    scheme = Scheme(bits=3, grid="affine", granularity="tensor")
    inner, block = 40, 16
    x, w = (tf.constant(random.normal(size=s).astype("float32")) for s in ((5, inner), (inner, 4)))
    parts = []
    for start in range(0, inner, block):
        pair = x[:, start : start + block], w[start : start + block]
        parts.append(
            [
                transform(v, scheme, (axis,), *range_of(v, scheme, (axis,)))
                for v, axis in zip(pair, (1, 0), strict=True)
            ]
        )
    operands = []
    for side, axis in ((0, 1), (1, 0)):
        y, slope, offset = (tf.concat([p[side][i] for p in parts], axis) for i in range(3))
        q = [tf.round((p[side][0] - p[side][2]) / p[side][1]) for p in parts]
        operands.append((y, (tf.cast(tf.concat(q, axis), tf.int8), slope, offset)))
    (y_x, x), (y_w, w) = operands
    np.testing.assert_allclose(affine_matmul(*x, *w, block=block), y_x @ y_w, atol=2e-4)


def test_in_a_graph():
    random = np.random.default_rng(0)
    x, w = random.integers(0, 16, (4, 9)), random.integers(0, 16, (9, 3))
    one = tf.ones((1, 1))
    run = tf.function(lambda a, b: affine_matmul(a, one, one, b, one, one))
    expected = (x + 1.0) @ (w + 1.0)
    for dtype in ("int32", "int8"):
        result = run(tf.constant(x.astype(dtype)), tf.constant(w.astype(dtype)))
        np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w": np.zeros((8, 3))}, r"inner sizes differ, \(4, 9\) times \(8, 3\)"),
        ({"x_scale": np.ones((4, 2))}, r"x_scale has shape \(4, 2\); dimension 1"),
        ({"x_scale": np.ones((3, 1))}, r"x_scale has shape \(3, 1\); dimension 0"),
        ({"x_offset": np.ones((4, 3))}, r"x_offset has shape \(4, 3\)"),
        ({"w_scale": np.ones((2, 3))}, r"w_scale has shape \(2, 3\); dimension 0"),
        ({"w_scale": np.ones((1, 2))}, r"w_scale has shape \(1, 2\); dimension 1"),
        ({"w_offset": np.ones((5, 3))}, r"w_offset has shape \(5, 3\)"),
        ({"w_scale": np.ones(3)}, r"w_scale has shape \(3,\)"),
        ({"x": np.zeros(9)}, "matrices"),
        ({"block": 4, "w_scale": np.ones((2, 3))}, "dimension 0 must be 1 or 3"),
        ({"block": 0}, "block"),
        ({"block": -4}, "block"),
    ],
)
def test_shapes_that_do_not_fit(changes, message):
    arguments = {
        "x": np.zeros((4, 9)),
        "x_scale": np.ones((4, 1)),
        "x_offset": np.ones((4, 1)),
        "w": np.zeros((9, 3)),
        "w_scale": np.ones((1, 3)),
        "w_offset": np.ones((1, 3)),
    } | {k: v for k, v in changes.items() if k != "block"}
    tensors = [tf.constant(v.astype("float32")) for v in arguments.values()]
    with pytest.raises(ValueError, match=f"affine_matmul: .*{message}"):
        affine_matmul(*tensors, block=changes.get("block"))
