"""The parts of a frozen graph that reckon."""

import numpy as np
import pytest

from mobilequant.integer import Constant, Operator, Tensor


@pytest.mark.parametrize("values", [0.0, 1 / 6, -3.0, [0.5, -0.25, 0.0], [[1e-3], [7.0]]])
def test_constant_of_real_values(values):
    constant = Constant.of(values)
    values = np.asarray(values)
    assert constant.values.dtype == np.int8 and constant.values.shape == values.shape
    assert constant.zero_point == 0 and np.isfinite(constant.scale) and constant.scale > 0
    steps = np.abs(constant.centred * constant.scale - values) / constant.scale
    assert steps.max() <= 0.5 + 1e-5
    # One number is as exact as float32.
    if values.size == 1:
        np.testing.assert_allclose(constant.centred * constant.scale, values, rtol=1e-6)


@pytest.mark.parametrize("tiny", [1e-44, 1e-39])
def test_constant_that_float32_cannot_divide(tiny):
    constant = Constant.of([tiny, 0.0])
    assert np.isfinite(constant.scale) and constant.scale > 0


def test_operands_are_in_the_order_of_the_device():
    x = Tensor("x", (3,), np.float32(1), 0)
    y = Tensor("y", (3,), np.float32(1), 0)
    constant = Constant.of(2.0)
    assert Operator("ADD", "layer", [x, y], [y]).operands == [x, y]
    assert Operator("SUB", "layer", [x], [y], constants={0: constant}).operands == [constant, x]
    assert Operator("SUB", "layer", [x], [y], constants={1: constant}).operands == [x, constant]
