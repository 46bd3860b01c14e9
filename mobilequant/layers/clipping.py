"""Bounds on both sides, or on one: what `keras.ops.clip`, `maximum` and `minimum` do."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import LARGEST, SMALLEST
from mobilequant.layers.frozen import copy, inner
from mobilequant.layers.structure import Unweighted


@keras.saving.register_keras_serializable(package="mobilequant")
class Clip(keras.layers.Layer):
    """min(max(x, low), high).

    Args:
        low, high: Numbers, or None for no bound.
    """

    def __init__(self, low=None, high=None, **kwargs):
        super().__init__(**kwargs)
        self.low, self.high = low, high
        self.built = True

    def call(self, inputs):
        return _clip(inputs, self.low, self.high)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high}


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedClip(Unweighted):
    """A quantized `Clip`: QUANTIZE, and MAXIMUM or MINIMUM where its range does not clip by itself.

    Args:
        low, high: As in `Clip`.
        activations: `Scheme` of the output.
    """

    def __init__(self, low=None, high=None, **kwargs):
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high}

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        return _clip(x, self.low, self.high)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        output = self.output_quantizer.grid()
        low, high = self._bounds(output)
        x = arithmetic.rescale(x, source, output)
        return ops.clip(x, low - output.zero_point, high - output.zero_point)

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        low, high = (
            int(ops.convert_to_numpy(bound)) for bound in self._bounds(self.output_quantizer.grid())
        )
        kinds = ["QUANTIZE"]
        kinds += ["MAXIMUM"] if low > SMALLEST else []
        kinds += ["MINIMUM"] if high < LARGEST else []
        bounds = {"MAXIMUM": low, "MINIMUM": high}
        operators = []
        for kind in kinds:
            last = kind == kinds[-1]
            y = output if last else inner(f"{self.name}/{kind.lower()}", x.shape, output)
            operators.append(copy(kind, y.name, x, y))
            if kind in bounds:
                value = np.array(bounds[kind], np.int8)
                constant = integer.Constant(value, output.scale, output.zero_point)
                operators[-1].constants = {1: constant}
            x = y
        return operators, output

    def _bounds(self, grid):
        """The smallest and the largest integer, as tensors."""
        return [
            ops.convert_to_tensor(float(otherwise), "float32")
            if value is None
            else ops.clip(
                ops.round(np.float32(value) / grid.scale) + grid.zero_point, SMALLEST, LARGEST
            )
            for value, otherwise in ((self.low, SMALLEST), (self.high, LARGEST))
        ]


def _clip(x, low, high):
    x = x if low is None else ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)
