"""Quantized layers without weights: the model's input, means, softmax."""

from __future__ import annotations

import keras
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.layers.base import QuantizedLayer, build_quantizer
from mobilequant.quantizers import Scheme


class Unweighted(QuantizedLayer):
    """Base of layers without weights.

    Args:
        activations: `Scheme` of the output.
    """

    #: (scale, zero point) of the output where the file format fixes them.
    fixed = None

    #: Smallest value of the output, where that is known.
    lowest = None

    def __init__(self, *, activations, **kwargs):
        super().__init__(**kwargs)
        self.activation_scheme = (
            Scheme(**activations) if isinstance(activations, dict) else activations
        )

    def build(self, input_shape=None):
        self.output_quantizer = build_quantizer(
            self,
            "output_quantizer",
            self.activation_scheme,
            self.compute_output_shape(input_shape),
            lowest=self.lowest,
            fixed=self.fixed,
        )
        self.built = True

    def get_config(self):
        return {**super().get_config(), "activations": self.activation_scheme.get_config()}

    def train(self, *inputs):
        return self.output_quantizer(self.infer_float(*inputs, observing=False))


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedInput(Unweighted):
    """The model's input on its grid; it says for which target and by which recipe it was made.

    Args:
        target: Name of the target.
        recipe: Name of the recipe, for reports.
        activations: `Scheme` of the input.
    """

    def __init__(self, *, target="phone", recipe="", **kwargs):
        super().__init__(**kwargs)
        self.target = target
        self.recipe = recipe

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "target": self.target, "recipe": self.recipe}

    def infer_float(self, x, observing):
        return ops.convert_to_tensor(x)

    def _infer_on_grids(self, inputs):
        grid = self.output_quantizer.grid()
        return arithmetic.dequantize(arithmetic.quantize(inputs[0], grid), grid)

    def freeze(self, inputs, output_shape):
        return [], self.describe_output(output_shape)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedGlobalAveragePooling2D(Unweighted):
    """A quantized `keras.layers.GlobalAveragePooling2D`: MEAN on the device.

    Args:
        keepdims: Whether height and width stay, as size 1.
        activations: `Scheme` of the output.
    """

    def __init__(self, keepdims=False, **kwargs):
        super().__init__(**kwargs)
        self.keepdims = keepdims

    def compute_output_shape(self, input_shape):
        batch, _, _, channels = input_shape
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)

    def get_config(self):
        return {**super().get_config(), "keepdims": self.keepdims}

    def infer_float(self, x, observing):
        return ops.mean(x, axis=(1, 2), keepdims=self.keepdims)

    def infer_integer(self, centred):
        (source,) = self.input_grids()
        return arithmetic.mean(
            centred, source, self.output_quantizer.grid(), axes=(1, 2), keepdims=self.keepdims
        )

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        options = {"axes": (1, 2), "keepdims": self.keepdims}
        return [integer.Operator("MEAN", self.name, inputs, [output], options=options)], output


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedSoftmax(Unweighted):
    """Softmax over the last dimension: SOFTMAX on the device, output grid (1/256, −128).

    In training its output stays float: a probability rounded to 0 has no logarithm. In inference
    it is the device's: multiples of 1/256, so that a loss is coarser than an accuracy.
    """

    fixed = (1 / 256, -128)

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        return ops.softmax(x, axis=-1)

    def infer_integer(self, centred):
        (source,) = self.input_grids()
        return arithmetic.softmax(centred, source, self.output_quantizer.grid())

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        options = {"beta": 1.0}
        return [integer.Operator("SOFTMAX", self.name, inputs, [output], options=options)], output
