"""Figures of float tensors; those of integers are in test_conversion."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tflite_tools.agreement import FLOAT_TOLERANCE, Agreement, FloatAgreement
from tflite_tools.figures import mean, short


@given(st.data(), st.sampled_from([np.int8, np.int16]))
def test_integer_figures_are_those_of_all_batches_at_once(data, dtype):
    shapes = st.tuples(st.integers(1, 4), st.integers(1, 5))
    agreement, pairs = Agreement("x"), []
    for _ in range(data.draw(st.integers(1, 3))):
        shape = data.draw(shapes)
        pairs.append([data.draw(arrays.arrays(dtype, shape)) for _ in range(2)])
        agreement.add(*pairs[-1])
    expected, got = (np.concatenate([x.ravel() for x in part]) for part in zip(*pairs, strict=True))
    steps = np.abs(expected.astype(int) - got.astype(int))
    assert (agreement.elements, agreement.max_steps) == (steps.size, steps.max())
    assert agreement.equal == np.mean(steps == 0)
    assert agreement.within_one_step == np.mean(steps <= 1)
    assert (agreement.smallest, agreement.largest) == (got.min(), got.max())
    assert agreement.distinct == len(set(got.tolist())) and agreement.bits == 8 * got.itemsize
    rows = [
        a.argmax() == b.argmax()
        for x, y in pairs
        if x.shape[1] > 1
        for a, b in zip(x, y, strict=True)
    ]
    assert agreement.top1_agreement == (np.mean(rows) if rows else None)


def test_signal_to_noise():
    agreement = FloatAgreement("x")
    assert agreement.signal_to_noise is None
    agreement.add(np.full((1, 4), 10, np.float32), np.full((1, 4), 9, np.float32))
    assert agreement.signal_to_noise == pytest.approx(20)
    agreement.add(np.zeros((1, 1), np.float32), np.array([[np.inf]], np.float32))
    assert agreement.signal_to_noise is None and agreement.to_dict()["largest_error"] is None
    json.dumps(agreement.to_dict(), allow_nan=False)


def test_the_mean_counts_elements_not_tensors():
    one, other = FloatAgreement("a"), FloatAgreement("b")
    one.add(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
    other.add(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32))
    assert mean([one, other]) == 3 / 4 and mean([]) == 1


def test_short_names():
    assert short("model/a/Relu;model/b;model/c") == "model/a/Relu"
    assert short("m/" + "x" * 60 + "/Relu", 20) == "…" + "x" * 14 + "/Relu"


def test_float_figures_are_relative_to_the_largest_value():
    agreement = FloatAgreement("x")
    expected = np.array([[1.0, -200.0, 3.0, 4.0]], np.float32)
    agreement.add(expected, expected + np.array([0, 0.01, 0.019, 0], np.float32))
    assert (agreement.elements, agreement.equal, agreement.top1_agreement) == (4, 1, 1)
    np.testing.assert_allclose(agreement.relative_error, 0.019 / 200, rtol=1e-3)
    assert not agreement.differs and not agreement.breaks
    agreement.add(expected, expected[:, ::-1])
    assert agreement.equal == 4 / 8 and agreement.top1_agreement == 0.5
    assert agreement.differs and agreement.breaks
    assert not FloatAgreement("y", promised=False).breaks
    assert json.loads(json.dumps(agreement.to_dict()))["largest"] == 200
    assert len(agreement.row()) == 8


def test_what_is_no_number_in_the_file_is_far_away():
    agreement = FloatAgreement("x")
    agreement.add(np.zeros((2, 3), np.float32), np.full((2, 3), np.nan, np.float32))
    assert agreement.equal == 0 and agreement.breaks


def test_zeros_are_compared_in_absolute_terms():
    agreement = FloatAgreement("x")
    agreement.add(np.zeros((1, 2), np.float32), np.array([[0, FLOAT_TOLERANCE / 2]], np.float32))
    assert agreement.equal == 1 and not agreement.breaks
