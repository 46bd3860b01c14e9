"""Keras layers made with quantizers: float to train, integer to infer, frozen to deploy."""

from mobilequant.layers.activation_quantizer import ActivationQuantizer
from mobilequant.layers.base import QuantizedLayer
from mobilequant.layers.folded import (
    FoldedLayer,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
)
from mobilequant.layers.functions import (
    HARD_SWISH_FACTOR,
    QuantizedFunction,
    QuantizedHardSwish,
)
from mobilequant.layers.merging import (
    MERGE_ACTIVATIONS,
    QuantizedAdd,
    QuantizedDot,
    QuantizedMultiply,
)
from mobilequant.layers.scaling import LayerScale, StochasticDepth
from mobilequant.layers.structure import (
    QuantizedGlobalAveragePooling2D,
    QuantizedInput,
    QuantizedSoftmax,
    Unweighted,
)

__all__ = [
    "HARD_SWISH_FACTOR",
    "MERGE_ACTIVATIONS",
    "ActivationQuantizer",
    "FoldedLayer",
    "LayerScale",
    "QuantizedAdd",
    "QuantizedConv2D",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
    "QuantizedDot",
    "QuantizedFunction",
    "QuantizedGlobalAveragePooling2D",
    "QuantizedHardSwish",
    "QuantizedInput",
    "QuantizedLayer",
    "QuantizedMultiply",
    "QuantizedSoftmax",
    "StochasticDepth",
    "Unweighted",
]
