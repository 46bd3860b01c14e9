"""Keras layers made with quantizers: float to train, integer to infer, frozen to deploy."""

from mobilequant.layers.activation_quantizer import ActivationQuantizer
from mobilequant.layers.activations import (
    QuantizedHardSigmoid,
    QuantizedPReLU,
    QuantizedReLU,
    QuantizedRescale,
    QuantizedSilu,
)
from mobilequant.layers.base import QuantizedLayer
from mobilequant.layers.clipping import Clip, QuantizedClip
from mobilequant.layers.composed_activations import (
    QuantizedScaledELU,
    QuantizedSoftplus,
    QuantizedThresholdedReLU,
)
from mobilequant.layers.constants import ConstantOperand, QuantizedConstantOperand
from mobilequant.layers.convolutions import (
    QuantizedChannelwise,
    QuantizedConv1D,
    QuantizedConv1DTranspose,
    QuantizedConv2D,
    QuantizedConv2DTranspose,
    QuantizedDepthwiseConv1D,
    QuantizedDepthwiseConv2D,
)
from mobilequant.layers.dense import QuantizedDense
from mobilequant.layers.folded import FoldedLayer
from mobilequant.layers.functions import (
    HARD_SWISH_FACTOR,
    ElementwiseFunction,
    QuantizedFunction,
    QuantizedHardSwish,
)
from mobilequant.layers.joining import (
    QuantizedConcatenate,
    QuantizedMaximum,
    QuantizedMinimum,
)
from mobilequant.layers.keeping import (
    GridKeeper,
    QuantizedAveragePooling,
    QuantizedBilinearResizing,
)
from mobilequant.layers.layer_normalization import QuantizedStandardization
from mobilequant.layers.merging import (
    MERGE_ACTIVATIONS,
    QuantizedAdd,
    QuantizedDot,
    QuantizedMultiply,
    QuantizedSubtract,
)
from mobilequant.layers.reducing import QuantizedReduction, Reduction
from mobilequant.layers.scaling import LayerScale, StochasticDepth
from mobilequant.layers.selecting import ArgMax, Extreme, Slice
from mobilequant.layers.structure import (
    QuantizedGlobalAveragePooling1D,
    QuantizedGlobalAveragePooling2D,
    QuantizedInput,
    QuantizedSoftmax,
    Unweighted,
)

__all__ = [
    "HARD_SWISH_FACTOR",
    "MERGE_ACTIVATIONS",
    "ActivationQuantizer",
    "ArgMax",
    "Clip",
    "ConstantOperand",
    "ElementwiseFunction",
    "Extreme",
    "FoldedLayer",
    "GridKeeper",
    "LayerScale",
    "QuantizedAdd",
    "QuantizedAveragePooling",
    "QuantizedBilinearResizing",
    "QuantizedChannelwise",
    "QuantizedClip",
    "QuantizedConcatenate",
    "QuantizedConstantOperand",
    "QuantizedConv1D",
    "QuantizedConv1DTranspose",
    "QuantizedConv2D",
    "QuantizedConv2DTranspose",
    "QuantizedDense",
    "QuantizedDepthwiseConv1D",
    "QuantizedDepthwiseConv2D",
    "QuantizedDot",
    "QuantizedFunction",
    "QuantizedGlobalAveragePooling1D",
    "QuantizedGlobalAveragePooling2D",
    "QuantizedHardSigmoid",
    "QuantizedHardSwish",
    "QuantizedInput",
    "QuantizedLayer",
    "QuantizedMaximum",
    "QuantizedMinimum",
    "QuantizedMultiply",
    "QuantizedPReLU",
    "QuantizedReLU",
    "QuantizedReduction",
    "QuantizedRescale",
    "QuantizedScaledELU",
    "QuantizedSilu",
    "QuantizedSoftmax",
    "QuantizedSoftplus",
    "QuantizedStandardization",
    "QuantizedSubtract",
    "QuantizedThresholdedReLU",
    "Reduction",
    "Slice",
    "StochasticDepth",
    "Unweighted",
]
