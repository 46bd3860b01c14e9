"""MobileNet-EdgeTPU: full convolutions where accelerators like them, ReLU, nothing else.

Source: the authors' model garden, `MobileNetV3EdgeTPU`; Howard and Gupta 2019, "Introducing the
next generation of on-device vision models: MobileNetV3 and MobileNetEdgeTPU", Google AI blog.
"""

from functools import partial

from mobilequant.models.architecture import (
    Architecture,
    ConvBN,
    FusedInvertedBottleneck,
    InvertedBottleneck,
    numbered,
)
from mobilequant.models.public import garden_model
from mobilequant.models.widths import scaled_if_wider

_Fused = FusedInvertedBottleneck
_Bottleneck = partial(InvertedBottleneck, activation="relu")

MOBILENET_EDGETPU = Architecture(
    name="mobilenet_edgetpu",
    rows=numbered(
        ConvBN(32, strides=2),
        _Fused(16, expand_ratio=1),
        _Fused(32, expand_ratio=8, strides=2),
        _Fused(32),
        _Fused(32),
        _Fused(32, endpoint=True),
        _Fused(48, expand_ratio=8, strides=2),
        _Fused(48),
        _Fused(48),
        _Fused(48, endpoint=True),
        _Bottleneck(96, expand_ratio=8, strides=2),
        _Bottleneck(96, expand_ratio=4),
        _Bottleneck(96, expand_ratio=4),
        _Bottleneck(96, expand_ratio=4),
        _Bottleneck(96, expand_ratio=8, residual=False),
        _Bottleneck(96, expand_ratio=4),
        _Bottleneck(96, expand_ratio=4),
        _Bottleneck(96, expand_ratio=4, endpoint=True),
        _Bottleneck(160, expand_ratio=8, kernel_size=5, strides=2),
        _Bottleneck(160, expand_ratio=4, kernel_size=5),
        _Bottleneck(160, expand_ratio=4, kernel_size=5),
        _Bottleneck(160, expand_ratio=4, kernel_size=5),
        _Bottleneck(192, expand_ratio=8, endpoint=True),
        ConvBN(1280, kernel_size=1, width=scaled_if_wider),
    ),
    stages=(1, 4, 4, 4, 4, 4, 1),
)


@garden_model(size=224)
def MobileNetEdgeTPU() -> Architecture:
    """MobileNet-EdgeTPU (the authors' `MobileNetV3EdgeTPU`): fused bottlenecks first, ReLU only.

    The second block is a linear projection, as in the authors' code. timm's
    `mobilenet_edgetpu_100` has a ReLU after it: its weights load, and give other outputs.
    """
    return MOBILENET_EDGETPU
