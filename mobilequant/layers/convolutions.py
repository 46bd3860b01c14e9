"""Quantized convolutions over two dimensions and one, transposed, and factors one a channel."""

from __future__ import annotations

import keras
from keras import ops

from mobilequant.integer import arithmetic
from mobilequant.layers.folded import FoldedLayer
from mobilequant.layers.frozen import image_frame
from mobilequant.layers.variables import read


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedConv2D(FoldedLayer):
    """A quantized `keras.layers.Conv2D`, see `FoldedLayer`: CONV_2D on the device."""

    kind = "CONV_2D"
    arithmetic = staticmethod(arithmetic.convolution)

    def product(self, x, kernel):
        return ops.conv(x, kernel, **self._geometry())

    def integer_product(self, x, kernel, bias, scaling, output, activation):
        geometry = self._geometry()
        return self.arithmetic(
            x,
            kernel,
            self.weight_quantizer.largest,
            bias,
            scaling,
            output,
            activation,
            strides=geometry["strides"],
            padding=geometry["padding"],
            dilation=geometry["dilation_rate"],
        )

    def options(self):
        geometry = self._geometry()
        return {
            "strides": geometry["strides"],
            "dilation": geometry["dilation_rate"],
            "padding": geometry["padding"].upper(),
        }

    def _geometry(self):
        return {
            "strides": tuple(self.layer.strides),
            "padding": self.layer.padding,
            "data_format": "channels_last",
            "dilation_rate": tuple(self.layer.dilation_rate),
        }


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedDepthwiseConv2D(QuantizedConv2D):
    """A quantized `keras.layers.DepthwiseConv2D`: DEPTHWISE_CONV_2D on the device."""

    kind = "DEPTHWISE_CONV_2D"
    arithmetic = staticmethod(arithmetic.depthwise_convolution)

    def flat_kernel(self):
        *size, channels, multiplier = self.layer.kernel.shape
        return ops.reshape(self.layer.kernel, (*size, channels * multiplier))

    def restore_kernel(self, flat):
        return ops.reshape(flat, self.layer.kernel.shape)

    def product(self, x, kernel):
        return ops.depthwise_conv(x, kernel, **self._geometry())

    def options(self):
        return {**super().options(), "multiplier": int(self.layer.depth_multiplier)}


class _OneDimensional:
    """A convolution over one dimension as one over two, on images of height 1."""

    def restore_kernel(self, flat):
        return ops.expand_dims(super().restore_kernel(flat), 0)

    def product(self, x, kernel):
        return ops.squeeze(super().product(ops.expand_dims(x, 1), kernel), 1)

    def integer_product(self, x, *rest):
        return ops.squeeze(super().integer_product(ops.expand_dims(x, 1), *rest), 1)

    def frame(self, source, output):
        return image_frame(self.name, source, output)

    def _geometry(self):
        geometry = super()._geometry()
        return {
            **geometry,
            "strides": (1, *geometry["strides"]),
            "dilation_rate": (1, *geometry["dilation_rate"]),
        }


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedConv1D(_OneDimensional, QuantizedConv2D):
    """A quantized `keras.layers.Conv1D`, "same" or "valid": CONV_2D on the device."""


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedDepthwiseConv1D(_OneDimensional, QuantizedDepthwiseConv2D):
    """A quantized `keras.layers.DepthwiseConv1D`: DEPTHWISE_CONV_2D on the device."""


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedConv2DTranspose(FoldedLayer):
    """A quantized `keras.layers.Conv2DTranspose`: TRANSPOSE_CONV on the device.

    The operator fuses no activation (nor do older runtimes); a ReLU is what its output's range
    lets through.
    """

    kind = "TRANSPOSE_CONV"

    @property
    def fused_kind(self):
        return "NONE"

    def flat_kernel(self):
        return ops.swapaxes(read(self.layer.kernel), -1, -2)

    def restore_kernel(self, flat):
        return ops.swapaxes(flat, -1, -2)

    def product(self, x, kernel):
        return ops.conv_transpose(x, kernel, data_format="channels_last", **self._geometry())

    def integer_product(self, x, kernel, bias, scaling, output, activation):
        return arithmetic.transposed_convolution(
            x,
            kernel,
            self.weight_quantizer.largest,
            bias,
            scaling,
            output,
            activation,
            **self._geometry(),
        )

    def options(self):
        geometry = self._geometry()
        return {"strides": geometry["strides"], "padding": geometry["padding"].upper()}

    def _geometry(self):
        return {"strides": tuple(self.layer.strides), "padding": self.layer.padding}


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedConv1DTranspose(QuantizedConv2DTranspose):
    """A quantized `keras.layers.Conv1DTranspose`: TRANSPOSE_CONV on images of height 1."""

    def restore_kernel(self, flat):
        return ops.expand_dims(super().restore_kernel(flat), 0)

    def product(self, x, kernel):
        return ops.squeeze(super().product(ops.expand_dims(x, 1), kernel), 1)

    def integer_product(self, x, *rest):
        return ops.squeeze(super().integer_product(ops.expand_dims(x, 1), *rest), 1)

    def frame(self, source, output):
        return image_frame(self.name, source, output)

    def _geometry(self):
        return {"strides": (1, *self.layer.strides), "padding": self.layer.padding}


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedChannelwise(QuantizedDepthwiseConv2D):
    """A factor and an offset for each channel: a DEPTHWISE_CONV_2D of size 1×1 on the device.

    Takes tensors of any rank. At 8 bits its weights, one a channel, are exact.

    Args:
        layer: A `keras.layers.DepthwiseConv2D` of size 1×1, with the factors and offsets.
    """

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build((None, 1, 1, input_shape[-1]))
        super().build(input_shape)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def product(self, x, kernel):
        return x * ops.reshape(kernel, (-1,))

    def integer_product(self, x, kernel, bias, scaling, output, activation):
        acc = ops.cast(x * ops.reshape(kernel, (-1,)), "int32") + bias
        return arithmetic.requantize(acc, scaling, output, activation)

    def frame(self, source, output):
        return image_frame(self.name, source, output)
