"""Quantized layers without weights: the model's input, additions, means, softmax."""

from __future__ import annotations

import keras
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.layers.base import QuantizedLayer, build_quantizer
from mobilequant.layers.folded import FUSED_ACTIVATIONS
from mobilequant.quantizers import Scheme


class _Unweighted(QuantizedLayer):
    """Shared configuration: the scheme of the output."""

    def __init__(self, *, activations, **kwargs):
        super().__init__(**kwargs)
        self.activation_scheme = (
            Scheme(**activations) if isinstance(activations, dict) else activations
        )

    def build(self, input_shape=None):
        self.output_quantizer = build_quantizer(
            self, "output_quantizer", self.activation_scheme, self.compute_output_shape(input_shape)
        )
        self.built = True

    def get_config(self):
        return {**super().get_config(), "activations": self.activation_scheme.get_config()}

    def train(self, *inputs):
        return self.output_quantizer(self.infer_float(*inputs, observing=False))


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedInput(_Unweighted):
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
class QuantizedAdd(_Unweighted):
    """A quantized `keras.layers.Add` of two tensors of one shape: ADD on the device.

    Args:
        activation: Fused activation, "linear", "relu" or "relu6".
        activations: `Scheme` of the output.
    """

    def __init__(self, activation="linear", **kwargs):
        super().__init__(**kwargs)
        self.activation = activation

    def build(self, input_shape=None):
        self.output_quantizer = build_quantizer(
            self,
            "output_quantizer",
            self.activation_scheme,
            self.compute_output_shape(input_shape),
            lowest=FUSED_ACTIVATIONS[self.activation][2],
        )
        self.built = True

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "activation": self.activation}

    def infer_float(self, a, b, observing):
        return FUSED_ACTIVATIONS[self.activation][0](a + b)

    def infer_integer(self, a, b):
        return arithmetic.add(
            a,
            b,
            *self.input_grids(),
            self.output_quantizer.grid(),
            FUSED_ACTIVATIONS[self.activation][1],
        )

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        smallest, largest = arithmetic.ADD_RATIOS
        for source in inputs:
            ratio = float(source.scale / output.scale)
            if not smallest <= ratio < largest:
                raise ValueError(
                    f"Layer {self.name!r}: its input {source.name!r} has {ratio:.3g} times the "
                    f"scale of its output; the device adds exactly from {smallest:.3g} up to "
                    f"{largest:g} times. One branch is all but dead: look at its range, train on, "
                    "or remove it."
                )
        activation = FUSED_ACTIVATIONS[self.activation][1]
        return [integer.Operator("ADD", self.name, inputs, [output], activation=activation)], output


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedGlobalAveragePooling2D(_Unweighted):
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
class QuantizedSoftmax(_Unweighted):
    """Softmax over the last dimension: SOFTMAX on the device, output grid (1/256, −128).

    In training its output stays float: a probability rounded to 0 has no logarithm. In inference
    it is the device's: multiples of 1/256, so that a loss is coarser than an accuracy.
    """

    def build(self, input_shape=None):
        self.output_quantizer = build_quantizer(
            self, "output_quantizer", None, fixed=(1 / 256, -128)
        )
        self.built = True

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
