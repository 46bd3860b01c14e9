"""Quantized layers without weights: the model's input, means, softmax."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.layers.activation_quantizer import observing_synthetic
from mobilequant.layers.base import QuantizedLayer, build_quantizer
from mobilequant.layers.frozen import inner
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


class _GlobalAveragePooling(Unweighted):
    """The mean over all dimensions but the batch and the channels: MEAN on the device.

    Args:
        keepdims: Whether height and width (or the length) stay, as size 1.
        activations: `Scheme` of the output.
    """

    def __init__(self, keepdims=False, **kwargs):
        super().__init__(**kwargs)
        self.keepdims = keepdims

    def compute_output_shape(self, input_shape):
        batch, *size, channels = input_shape
        return (batch, *[1 for _ in size], channels) if self.keepdims else (batch, channels)

    def get_config(self):
        return {**super().get_config(), "keepdims": self.keepdims}

    def infer_float(self, x, observing):
        if observing and observing_synthetic():
            x = _one_place_each(x)
        return ops.mean(x, axis=_inner_axes(x), keepdims=self.keepdims)

    def infer_integer(self, centred):
        (source,) = self.input_grids()
        output = self.output_quantizer.grid()
        return arithmetic.mean(
            centred, source, output, axes=_inner_axes(centred), keepdims=self.keepdims
        )

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        axes = tuple(range(1, len(inputs[0].shape)))
        options = {"axes": axes, "keepdims": self.keepdims}
        return [integer.Operator("MEAN", self.name, inputs, [output], options=options)], output


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedGlobalAveragePooling1D(_GlobalAveragePooling):
    """A quantized `keras.layers.GlobalAveragePooling1D`, see there."""


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedGlobalAveragePooling2D(_GlobalAveragePooling):
    """A quantized `keras.layers.GlobalAveragePooling2D`."""


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedSoftmax(Unweighted):
    """Softmax over one dimension: SOFTMAX on the device, output grid (1/256, −128).

    The device takes the last dimension; for another one a TRANSPOSE comes before and behind.
    In training its output stays float: a probability rounded to 0 has no logarithm. In inference
    it is the device's: multiples of 1/256, so that a loss is coarser than an accuracy.

    Args:
        axis: The dimension, the batch being 0; −1 is the last.
        activations: `Scheme` of the output.
    """

    fixed = (1 / 256, -128)

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        return ops.softmax(x, axis=self.axis)

    def infer_integer(self, centred):
        (source,) = self.input_grids()
        centred = ops.swapaxes(centred, self.axis, -1)
        y = arithmetic.softmax(centred, source, self.output_quantizer.grid())
        return ops.swapaxes(y, self.axis, -1)

    def freeze(self, inputs, output_shape):
        (source,) = inputs
        output = self.describe_output(output_shape)
        options = {"beta": 1.0}
        rank = len(output_shape)
        axis = self.axis % rank
        if axis == rank - 1:
            return [
                integer.Operator("SOFTMAX", self.name, inputs, [output], options=options)
            ], output
        permutation = list(range(rank))
        permutation[axis], permutation[-1] = permutation[-1], permutation[axis]
        options = {"permutation": tuple(permutation)}
        shape = [source.shape[i - 1] for i in permutation[1:]]
        turned = inner(f"{self.name}/turned", shape, source)
        result = inner(f"{self.name}/softmax", shape, output)
        return [
            integer.Operator("TRANSPOSE", turned.name, [source], [turned], options=options),
            integer.Operator("SOFTMAX", result.name, [turned], [result], options={"beta": 1.0}),
            integer.Operator("TRANSPOSE", self.name, [result], [output], options=options),
        ], output


def _one_place_each(x):
    """Of each image one place, spread evenly over the places; with dimensions of size 1."""
    batch, channels = x.shape[0], x.shape[-1]
    places = ops.reshape(x, (batch, -1, channels))
    chosen = np.arange(batch) * places.shape[1] // batch
    picked = ops.take_along_axis(places, chosen[:, None, None], axis=1)
    return ops.reshape(picked, (batch, *[1 for _ in _inner_axes(x)], channels))


def _inner_axes(x):
    """All dimensions but the batch and the channels."""
    return tuple(range(1, len(x.shape) - 1))
