"""Activations that stand alone: composed of operators that the device is fast at.

RELU and RELU6 alone run outside XNNPACK, hundreds of times slower than QUANTIZE does.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import Grid, constant_grid
from mobilequant.layers.structure import Unweighted
from mobilequant.layers.variables import read

_SIGMOID = arithmetic.FIXED_GRIDS["LOGISTIC"]


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedRescale(Unweighted):
    """The same values on a grid of its own: QUANTIZE on the device.

    Args:
        activations: `Scheme` of the output.
    """

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        return ops.convert_to_tensor(x)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        return arithmetic.rescale(x, source, self.output_quantizer.grid())

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        return [integer.Operator("QUANTIZE", self.name, inputs, [output])], output


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedReLU(QuantizedRescale):
    """min(max(x, 0), highest): QUANTIZE on the device, the range of whose output does the clip.

    Args:
        highest: None for a plain ReLU, 6 for ReLU6.
        activations: `Scheme` of the output.
    """

    lowest = 0.0

    def __init__(self, highest=None, **kwargs):
        super().__init__(**kwargs)
        self.highest = highest

    def get_config(self):
        return {**super().get_config(), "highest": self.highest}

    def infer_float(self, x, observing):
        y = ops.relu(x)
        return y if self.highest is None else ops.minimum(y, self.highest)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedSilu(Unweighted):
    """x·sigmoid(x): LOGISTIC and MUL on the device.

    Args:
        activations: `Scheme` of the output.
    """

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        return ops.silu(x)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        gate = constant_grid(*_SIGMOID)
        table = arithmetic.function_table("LOGISTIC", source, gate)
        opened = arithmetic.lookup(x, source, table)
        return arithmetic.multiply(x, opened, source, gate, self.output_quantizer.grid())

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        scale, zero_point = _SIGMOID
        gate = integer.Tensor(f"{self.name}/gate", x.shape, scale, int(zero_point), internal=True)
        return [
            integer.Operator("LOGISTIC", gate.name, [x], [gate]),
            integer.Operator("MUL", self.name, [x, gate], [output]),
        ], output


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedHardSigmoid(Unweighted):
    """min(max(x / 6 + 1/2, 0), 1): MUL and ADD by constants, the output's range does the clip.

    Args:
        activations: `Scheme` of the output.
    """

    lowest = 0.0

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        return ops.hard_sigmoid(x)

    def infer_integer(self, x):
        # x / 6 has the integers of x, see `freeze`.
        (source,) = self.input_grids()
        half = integer.Constant.of(0.5)
        half_grid = constant_grid(half.scale)
        return arithmetic.add(
            x, half.centred, self._divided(source), half_grid, self.output_quantizer.grid()
        )

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        scale = ops.convert_to_numpy(self._divided(self.input_grids()[0]).scale)
        sixth = integer.Tensor(
            f"{self.name}/sixth", x.shape, np.float32(scale), x.zero_point, internal=True
        )
        return [
            integer.Operator(
                "MUL", sixth.name, [x], [sixth], constants={1: integer.Constant.of(1 / 6)}
            ),
            integer.Operator(
                "ADD", self.name, [sixth], [output], constants={1: integer.Constant.of(0.5)}
            ),
        ], output

    def _divided(self, source):
        return Grid(source.scale * np.float32(1 / 6), source.zero_point)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedPReLU(Unweighted):
    """A quantized `keras.layers.PReLU`: PRELU on the device, its slopes symmetric int8.

    Args:
        layer: The stock layer, whose slopes it keeps.
        activations: `Scheme` of the output.
    """

    def __init__(self, layer, **kwargs):
        kwargs.setdefault("name", layer.name)
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)
        super().build(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
        }

    @classmethod
    def from_config(cls, config):
        layer = config["layer"]
        if isinstance(layer, dict):
            layer = keras.saving.deserialize_keras_object(layer)
        return cls(**{**config, "layer": layer})

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        return self.layer(x)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        slopes, grid = self._slopes()
        return arithmetic.prelu(x, slopes, source, grid, self.output_quantizer.grid())

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        slopes, grid = self._slopes()
        slopes = integer.Constant(
            ops.convert_to_numpy(slopes).astype(np.int8),
            np.float32(ops.convert_to_numpy(grid.scale)),
        )
        operator = integer.Operator("PRELU", self.name, inputs, [output], constants={1: slopes})
        return [operator], output

    def _slopes(self):
        """Centred integers of the slopes, and their grid."""
        alpha = read(self.layer.alpha)
        largest = ops.max(ops.abs(alpha))
        scale = ops.where(largest > 0, largest / 127.0, 1.0)
        return ops.round(alpha / scale), Grid(scale, ops.zeros(()))
