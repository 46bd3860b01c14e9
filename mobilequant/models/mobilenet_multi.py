"""MobileNet Multi-Hardware: one network that is good on CPUs, GPUs, DSPs and Edge TPUs alike.

Source: Chu et al. 2021, "Discovering multi-hardware mobile models via architecture search",
arXiv:2008.08178. MAX was searched for the worst of the accelerators' latencies, AVG for their
mean; the Seg backbones keep fewer channels at 1/32 of the image.
"""

from functools import partial

from mobilequant.models.architecture import (
    Architecture,
    ConvBN,
    GlobalPooling,
    InvertedBottleneck,
    numbered,
)
from mobilequant.models.public import garden_model
from mobilequant.models.widths import scaled_if_wider

_Conv = ConvBN
_Bottleneck = partial(InvertedBottleneck, activation="relu")
_HEAD = ConvBN(1280, kernel_size=1, width=scaled_if_wider)

MOBILENET_MULTI_MAX = Architecture(
    name="mobilenet_multi_max",
    rows=numbered(
        _Conv(32, strides=2),
        _Bottleneck(32, expand_ratio=3, strides=2, endpoint=True),
        _Bottleneck(64, expand_ratio=6, kernel_size=5, strides=2),
        _Bottleneck(64, expand_ratio=2),
        _Bottleneck(64, expand_ratio=2, endpoint=True),
        _Bottleneck(128, expand_ratio=6, kernel_size=5, strides=2),
        _Bottleneck(128, expand_ratio=4),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(128, expand_ratio=6),
        _Bottleneck(128, expand_ratio=3, endpoint=True),
        _Bottleneck(160, expand_ratio=6, strides=2),
        _Bottleneck(160, expand_ratio=4, kernel_size=5),
        _Bottleneck(160, expand_ratio=5),
        _Bottleneck(160, expand_ratio=4, kernel_size=5, endpoint=True),
        _Conv(960, kernel_size=1),
        GlobalPooling(),
        _HEAD,
    ),
)

MOBILENET_MULTI_AVG = Architecture(
    name="mobilenet_multi_avg",
    rows=numbered(
        _Conv(32, strides=2),
        _Bottleneck(32, expand_ratio=3, strides=2),
        _Bottleneck(32, expand_ratio=2, endpoint=True),
        _Bottleneck(64, expand_ratio=5, kernel_size=5, strides=2),
        _Bottleneck(64, expand_ratio=3),
        _Bottleneck(64, expand_ratio=2),
        _Bottleneck(64, expand_ratio=3, endpoint=True),
        _Bottleneck(128, expand_ratio=6, kernel_size=5, strides=2),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(160, expand_ratio=6),
        _Bottleneck(160, expand_ratio=4, endpoint=True),
        _Bottleneck(192, expand_ratio=6, strides=2),
        _Bottleneck(192, expand_ratio=4, kernel_size=5),
        _Bottleneck(192, expand_ratio=4, kernel_size=5),
        _Bottleneck(192, expand_ratio=4, kernel_size=5, endpoint=True),
        _Conv(960, kernel_size=1),
        GlobalPooling(),
        _HEAD,
    ),
)

MOBILENET_MULTI_MAX_SEG = Architecture(
    name="mobilenet_multi_max_seg",
    rows=numbered(
        _Conv(32, strides=2),
        _Bottleneck(32, expand_ratio=3, strides=2, endpoint=True),
        _Bottleneck(64, expand_ratio=6, kernel_size=5, strides=2),
        _Bottleneck(64, expand_ratio=2),
        _Bottleneck(64, expand_ratio=2, endpoint=True),
        _Bottleneck(128, expand_ratio=6, kernel_size=5, strides=2),
        _Bottleneck(128, expand_ratio=4),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(128, expand_ratio=6),
        _Bottleneck(128, expand_ratio=3, endpoint=True),
        _Bottleneck(160, expand_ratio=6, strides=2),
        _Bottleneck(96, expand_ratio=2, kernel_size=5),
        _Bottleneck(96, expand_ratio=4),
        _Bottleneck(96, expand_ratio=10 / 3, kernel_size=5, endpoint=True),
        _Conv(448, kernel_size=1, endpoint=True),
        GlobalPooling(),
        _HEAD,
    ),
)

MOBILENET_MULTI_AVG_SEG = Architecture(
    name="mobilenet_multi_avg_seg",
    rows=numbered(
        _Conv(32, strides=2),
        _Bottleneck(32, expand_ratio=3, strides=2),
        _Bottleneck(32, expand_ratio=2, endpoint=True),
        _Bottleneck(64, expand_ratio=5, kernel_size=5, strides=2),
        _Bottleneck(64, expand_ratio=3),
        _Bottleneck(64, expand_ratio=2),
        _Bottleneck(64, expand_ratio=3, endpoint=True),
        _Bottleneck(128, expand_ratio=6, kernel_size=5, strides=2),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(128, expand_ratio=3),
        _Bottleneck(160, expand_ratio=6),
        _Bottleneck(160, expand_ratio=4, endpoint=True),
        _Bottleneck(192, expand_ratio=6, strides=2),
        _Bottleneck(96, expand_ratio=2, kernel_size=5),
        _Bottleneck(96, expand_ratio=4, kernel_size=5),
        _Bottleneck(96, expand_ratio=4, kernel_size=5, endpoint=True),
        _Conv(448, kernel_size=1, endpoint=True),
        GlobalPooling(),
        _HEAD,
    ),
)


@garden_model(size=224)
def MobileNetMultiMAX() -> Architecture:
    """MobileNet Multi-Hardware MAX (arXiv:2008.08178): best on the slowest accelerator."""
    return MOBILENET_MULTI_MAX


@garden_model(size=224)
def MobileNetMultiAVG() -> Architecture:
    """MobileNet Multi-Hardware AVG (arXiv:2008.08178): best on the average accelerator."""
    return MOBILENET_MULTI_AVG


@garden_model(size=224)
def MobileNetMultiMAXSeg() -> Architecture:
    """MobileNet Multi-Hardware MAX for segmentation (arXiv:2008.08178), narrow at the end.

    Level 5 of the authors' list is the last bottleneck; the level at the end, which `"stride32"`
    means, is the 1×1 convolution after it.
    """
    return MOBILENET_MULTI_MAX_SEG


@garden_model(size=224)
def MobileNetMultiAVGSeg() -> Architecture:
    """MobileNet Multi-Hardware AVG for segmentation (arXiv:2008.08178), narrow at the end.

    Level 5 of the authors' list is the last bottleneck; the level at the end, which `"stride32"`
    means, is the 1×1 convolution after it.
    """
    return MOBILENET_MULTI_AVG_SEG
