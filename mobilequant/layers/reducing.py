"""Sums and means over any dimensions but the batch."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import Grid
from mobilequant.layers.frozen import on_grid
from mobilequant.layers.selecting import OverAxes
from mobilequant.layers.structure import Unweighted

_FLOAT = {"mean": ops.mean, "sum": ops.sum}


@keras.saving.register_keras_serializable(package="mobilequant")
class Reduction(OverAxes, keras.layers.Layer):
    """The mean or the sum over some dimensions, as `keras.ops` in the graph give them.

    Args:
        kind: "mean" or "sum".
        axes, keepdims: As in `OverAxes`.
    """

    def __init__(self, kind, axes, keepdims=False, **kwargs):
        super().__init__(kind, axes, keepdims, **kwargs)
        self.built = True

    def call(self, inputs):
        return _FLOAT[self.kind](inputs, axis=self.axes, keepdims=self.keepdims)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedReduction(OverAxes, Unweighted):
    """A quantized `Reduction`: MEAN on the device, for a sum with a MUL by the count behind it.

    Args:
        kind, axes, keepdims: As in `Reduction`.
        activations: `Scheme` of the output.
    """

    def infer_float(self, x, observing):
        return _FLOAT[self.kind](x, axis=self.axes, keepdims=self.keepdims)

    def infer_integer(self, x):
        # A sum has the integers of the mean, see `freeze`.
        (source,) = self.input_grids()
        return arithmetic.mean(x, source, self._mean_grid(x.shape), self.axes, self.keepdims)

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        options = {"axes": self.axes, "keepdims": self.keepdims}
        if self.kind == "mean":
            return [integer.Operator("MEAN", self.name, inputs, [output], options=options)], output
        shape = (1, *x.shape)
        mean = on_grid(f"{self.name}/mean", output.shape, self._mean_grid(shape))
        count = {1: integer.Constant.of(float(self._count(shape)))}
        return [
            integer.Operator("MEAN", mean.name, inputs, [mean], options=options),
            integer.Operator("MUL", self.name, [mean], [output], constants=count),
        ], output

    def _mean_grid(self, shape):
        grid = self.output_quantizer.grid()
        if self.kind == "mean":
            return grid
        return Grid(grid.scale * np.float32(1 / self._count(shape)), grid.zero_point)

    def _count(self, shape):
        return math.prod(shape[axis] for axis in self.axes)
