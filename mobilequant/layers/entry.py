"""The way back from layers that were left in float."""

import keras

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.layers.structure import Unweighted


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedEntry(Unweighted):
    """What a float layer gives, on a grid of its own: QUANTIZE on the device.

    Args:
        activations: `Scheme` of the output.
    """

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        return x

    def _infer_on_grids(self, inputs):
        grid = self.output_quantizer.grid()
        return arithmetic.dequantize(arithmetic.quantize(inputs[0], grid), grid)

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        return [integer.Operator("QUANTIZE", self.name, inputs, [output])], output
