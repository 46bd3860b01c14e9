"""Quantized dense layers."""

from __future__ import annotations

import keras
from keras import ops

from mobilequant.integer import arithmetic
from mobilequant.layers.folded import FoldedLayer
from mobilequant.layers.frozen import image_frame


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedDense(FoldedLayer):
    """A quantized `keras.layers.Dense` on inputs of any rank: FULLY_CONNECTED on the device.

    Args:
        as_convolution: Whether it is a 1×1 CONV_2D on the device, which has a scale an output
            channel, so that what differs from channel to channel folds into it exactly.
    """

    kind = "FULLY_CONNECTED"

    def __init__(self, *args, as_convolution=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.as_convolution = as_convolution
        if as_convolution:
            self.kind = "CONV_2D"

    def get_config(self):
        return {**super().get_config(), "as_convolution": self.as_convolution}

    def product(self, x, kernel):
        return ops.matmul(x, kernel)

    def integer_product(self, x, kernel, bias, scaling, output, activation):
        return arithmetic.fully_connected(
            x, kernel, self.weight_quantizer.largest, bias, scaling, output, activation
        )

    def device_kernel(self, flat):
        return flat[None, None] if self.as_convolution else flat

    def options(self):
        if not self.as_convolution:
            return {}
        return {"strides": (1, 1), "dilation": (1, 1), "padding": "VALID"}

    def frame(self, source, output):
        if not self.as_convolution:
            return super().frame(source, output)
        return image_frame(self.name, source, output)
