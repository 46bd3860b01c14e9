"""Box codes: there and back, NumPy and TensorFlow, and the formula by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mobilequant.tasks.detection import decode, encode

SHARES = st.floats(0, 1, width=32)


def as_boxes(numbers):
    """Boxes of at least 1/50 of the image, within what decoding allows, from any four shares."""
    low, size = numbers[..., :2], 0.02 + 0.98 * numbers[..., 2:]
    return np.concatenate([low, low + size], axis=-1).astype("float32")


def lists(count):
    return arrays.arrays("float32", (count, 4), elements=SHARES).map(as_boxes)


@given(lists(7), lists(7))
@settings(deadline=None)
def test_decode_undoes_encode(boxes, anchors):
    for factors in ((10, 10, 5, 5), (1, 1, 1, 1)):
        codes = encode(boxes, anchors, factors)
        np.testing.assert_allclose(decode(codes, anchors, factors), boxes, atol=2e-5)


@given(lists(5), lists(5))
@settings(deadline=None)
def test_numpy_and_tensorflow_agree(boxes, anchors):
    codes = encode(boxes, anchors)
    np.testing.assert_allclose(encode(tf.constant(boxes), anchors), codes, rtol=1e-5, atol=1e-5)
    other = decode(tf.constant(codes), anchors, clip=True)
    assert tf.is_tensor(other) and isinstance(codes, np.ndarray)
    np.testing.assert_allclose(other, decode(codes, anchors, clip=True), atol=1e-6)


def test_the_formula_by_hand():
    anchors = np.array([[0.2, 0.4, 0.4, 0.8]], "float32")
    boxes = np.array([[0.3, 0.4, 0.7, 0.6]], "float32")
    expected = [10 * 0.2 / 0.2, 10 * -0.1 / 0.4, 5 * math.log(0.4 / 0.2), 5 * math.log(0.2 / 0.4)]
    np.testing.assert_allclose(encode(boxes, anchors)[0], expected, rtol=1e-5)


def test_what_cannot_be_coded_stays_finite():
    anchors = np.array([[0.2, 0.2, 0.4, 0.4]], "float32")
    assert np.isfinite(encode(np.zeros((1, 4), "float32"), anchors)).all()
    wild = decode(np.full((1, 4), 1e6, "float32"), anchors)
    assert np.isfinite(wild).all()
    assert wild[0, 2] - wild[0, 0] == pytest.approx(0.2 * 1000 / 16, rel=1e-2)
    clipped = decode(np.array([[0, 0, 100, 100]], "float32"), anchors, clip=True)
    np.testing.assert_array_equal(clipped, [[0, 0, 1, 1]])
