"""Figures of float tensors; those of integers are in test_conversion."""

import json

import numpy as np

from tflite_tools.agreement import FLOAT_TOLERANCE, FloatAgreement


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
