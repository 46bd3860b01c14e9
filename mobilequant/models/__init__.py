"""MobileNets V1 to V4 as plain Keras models: tables of blocks and one builder.

A model holds stock Keras layers, and `LayerScale` and `StochasticDepth` where its authors have
them, so it trains, saves and loads like any other Keras model; `mobilequant.quantize` turns it,
and anybody else's, into a quantized one.

Each family's tables are in a file of its own (`mobilenet_v2.py`); `builder.py` reads them;
`bottlenecks.py` and `attention.py` hold the blocks, which can be used in models of one's own;
`weights.py` imports the weights that people have.
"""

from mobilequant.layers import LayerScale, StochasticDepth
from mobilequant.models.attention import mobile_mqa
from mobilequant.models.bottlenecks import (
    conv_bn,
    depthwise_separable,
    fused_inverted_bottleneck,
    inverted_bottleneck,
    universal_inverted_bottleneck,
)
from mobilequant.models.convolution import Conventions, squeeze_excite
from mobilequant.models.counting import Count, count
from mobilequant.models.mobilenet_edgetpu import MobileNetEdgeTPU
from mobilequant.models.mobilenet_multi import (
    MobileNetMultiAVG,
    MobileNetMultiAVGSeg,
    MobileNetMultiMAX,
    MobileNetMultiMAXSeg,
)
from mobilequant.models.mobilenet_v1 import MobileNetV1
from mobilequant.models.mobilenet_v2 import MobileNetV2
from mobilequant.models.mobilenet_v3 import MobileNetV3Large, MobileNetV3Small
from mobilequant.models.mobilenet_v4 import (
    MobileNetV4ConvLarge,
    MobileNetV4ConvMedium,
    MobileNetV4ConvMediumSeg,
    MobileNetV4ConvSmall,
)
from mobilequant.models.mobilenet_v4_hybrid import MobileNetV4HybridLarge, MobileNetV4HybridMedium
from mobilequant.models.public import GARDEN
from mobilequant.models.segmentation import LRASPP, RASPP
from mobilequant.models.ssdlite import SSDLite

__all__ = [
    "GARDEN",
    "LRASPP",
    "RASPP",
    "Conventions",
    "Count",
    "LayerScale",
    "MobileNetEdgeTPU",
    "MobileNetMultiAVG",
    "MobileNetMultiAVGSeg",
    "MobileNetMultiMAX",
    "MobileNetMultiMAXSeg",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "MobileNetV4ConvLarge",
    "MobileNetV4ConvMedium",
    "MobileNetV4ConvMediumSeg",
    "MobileNetV4ConvSmall",
    "MobileNetV4HybridLarge",
    "MobileNetV4HybridMedium",
    "SSDLite",
    "StochasticDepth",
    "conv_bn",
    "count",
    "depthwise_separable",
    "fused_inverted_bottleneck",
    "inverted_bottleneck",
    "mobile_mqa",
    "squeeze_excite",
    "universal_inverted_bottleneck",
]
