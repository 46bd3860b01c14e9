"""Keras layers made with quantizers: float to train, integer to infer, frozen to deploy."""

from mobilequant.layers.activation_quantizer import ActivationQuantizer
from mobilequant.layers.base import QuantizedLayer
from mobilequant.layers.folded import (
    FoldedLayer,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
)
from mobilequant.layers.structure import (
    QuantizedAdd,
    QuantizedGlobalAveragePooling2D,
    QuantizedInput,
    QuantizedSoftmax,
)

__all__ = [
    "ActivationQuantizer",
    "FoldedLayer",
    "QuantizedAdd",
    "QuantizedConv2D",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
    "QuantizedGlobalAveragePooling2D",
    "QuantizedInput",
    "QuantizedLayer",
    "QuantizedSoftmax",
]
