"""MobileNetV4, convolutional models: universal inverted bottlenecks.

Source: Qin et al. 2024, "MobileNetV4: universal models for the mobile ecosystem",
arXiv:2404.10518, tables 9 to 12, and the authors' model garden. The models with attention are in
`mobilenet_v4_hybrid.py`.
"""

from dataclasses import replace
from functools import partial

from mobilequant.models.architecture import (
    Architecture,
    ConvBN,
    FusedInvertedBottleneck,
    GlobalPooling,
    UniversalInvertedBottleneck,
    numbered,
)
from mobilequant.models.public import garden_model
from mobilequant.models.widths import scaled_if_wider

_Conv = ConvBN
_Fused = FusedInvertedBottleneck
_stem = partial(ConvBN, strides=2, width=scaled_if_wider)
_HEAD = ConvBN(1280, kernel_size=1, width=scaled_if_wider)


def _uib(filters: int, start: int, middle: int, **options) -> UniversalInvertedBottleneck:
    """A universal inverted bottleneck with these depthwise kernels, 0 for none."""
    return UniversalInvertedBottleneck(
        filters, start_kernel_size=start, middle_kernel_size=middle, **options
    )


def _with_relu6(*rows):
    return tuple(
        row if isinstance(row, GlobalPooling) else replace(row, activation="relu6")
        for row in numbered(*rows)
    )


MOBILENET_V4_CONV_SMALL = Architecture(
    name="mobilenetv4_conv_small",
    rows=numbered(
        _stem(32),
        _Conv(32, strides=2),
        _Conv(32, kernel_size=1, endpoint=True),
        _Conv(96, strides=2),
        _Conv(64, kernel_size=1, endpoint=True),
        _uib(96, 5, 5, expand_ratio=3, strides=2),
        _uib(96, 0, 3, expand_ratio=2),
        _uib(96, 0, 3, expand_ratio=2),
        _uib(96, 0, 3, expand_ratio=2),
        _uib(96, 0, 3, expand_ratio=2),
        _uib(96, 3, 0, endpoint=True),
        _uib(128, 3, 3, expand_ratio=6, strides=2),
        _uib(128, 5, 5),
        _uib(128, 0, 5),
        _uib(128, 0, 5, expand_ratio=3),
        _uib(128, 0, 3),
        _uib(128, 0, 3, endpoint=True),
        _Conv(960, kernel_size=1),
        GlobalPooling(),
        _HEAD,
    ),
    stages=(2, 2, 6, 6, 1),
)

MOBILENET_V4_CONV_MEDIUM = Architecture(
    name="mobilenetv4_conv_medium",
    rows=numbered(
        _stem(32),
        _Fused(48, strides=2, endpoint=True),
        _uib(80, 3, 5, strides=2),
        _uib(80, 3, 3, expand_ratio=2, endpoint=True),
        _uib(160, 3, 5, expand_ratio=6, strides=2),
        _uib(160, 3, 3),
        _uib(160, 3, 3),
        _uib(160, 3, 5),
        _uib(160, 3, 3),
        _uib(160, 3, 0),
        _uib(160, 0, 0, expand_ratio=2),
        _uib(160, 3, 0, endpoint=True),
        _uib(256, 5, 5, expand_ratio=6, strides=2),
        _uib(256, 5, 5),
        _uib(256, 3, 5),
        _uib(256, 3, 5),
        _uib(256, 0, 0),
        _uib(256, 3, 0),
        _uib(256, 3, 5, expand_ratio=2),
        _uib(256, 5, 5),
        _uib(256, 0, 0),
        _uib(256, 0, 0),
        _uib(256, 5, 0, expand_ratio=2, endpoint=True),
        _Conv(960, kernel_size=1),
        GlobalPooling(),
        _HEAD,
    ),
    stages=(1, 2, 8, 11, 1),
)

MOBILENET_V4_CONV_MEDIUM_SEG = Architecture(
    name="mobilenetv4_conv_medium_seg",
    rows=_with_relu6(
        _stem(32),
        _Fused(48, strides=2, endpoint=True),
        _uib(80, 3, 5, strides=2),
        _uib(80, 3, 3, expand_ratio=2, endpoint=True),
        _uib(160, 3, 5, expand_ratio=6, strides=2),
        _uib(160, 3, 3),
        _uib(160, 3, 3),
        _uib(160, 3, 5),
        _uib(160, 3, 3),
        _uib(160, 3, 0),
        _uib(160, 3, 0, endpoint=True),
        _uib(256, 5, 5, expand_ratio=6, strides=2),
        _uib(128, 5, 5),
        _uib(128, 3, 5),
        _uib(128, 3, 5),
        _uib(128, 3, 0),
        _uib(128, 3, 5, expand_ratio=2),
        _uib(128, 5, 5),
        _uib(128, 5, 0, expand_ratio=2),
        _Conv(448, kernel_size=1, endpoint=True),
        GlobalPooling(),
        _HEAD,
    ),
)

MOBILENET_V4_CONV_LARGE = Architecture(
    name="mobilenetv4_conv_large",
    rows=numbered(
        _stem(24),
        _Fused(48, strides=2, endpoint=True),
        _uib(96, 3, 5, strides=2),
        _uib(96, 3, 3, endpoint=True),
        _uib(192, 3, 5, strides=2),
        _uib(192, 3, 3),
        _uib(192, 3, 3),
        _uib(192, 3, 3),
        _uib(192, 3, 5),
        _uib(192, 5, 3),
        _uib(192, 5, 3),
        _uib(192, 5, 3),
        _uib(192, 5, 3),
        _uib(192, 5, 3),
        _uib(192, 3, 0, endpoint=True),
        _uib(512, 5, 5, strides=2),
        _uib(512, 5, 5),
        _uib(512, 5, 5),
        _uib(512, 5, 5),
        _uib(512, 5, 0),
        _uib(512, 5, 3),
        _uib(512, 5, 0),
        _uib(512, 5, 0),
        _uib(512, 5, 3),
        _uib(512, 5, 5),
        _uib(512, 5, 0),
        _uib(512, 5, 0),
        _uib(512, 5, 0, endpoint=True),
        _Conv(960, kernel_size=1),
        GlobalPooling(),
        _HEAD,
    ),
    stages=(1, 2, 11, 13, 1),
)


@garden_model(size=224)
def MobileNetV4ConvSmall() -> Architecture:
    """MobileNetV4 Conv-Small (arXiv:2404.10518): the smallest."""
    return MOBILENET_V4_CONV_SMALL


@garden_model(size=256)
def MobileNetV4ConvMedium() -> Architecture:
    """MobileNetV4 Conv-Medium (arXiv:2404.10518)."""
    return MOBILENET_V4_CONV_MEDIUM


@garden_model(size=256)
def MobileNetV4ConvMediumSeg() -> Architecture:
    """MobileNetV4 Conv-Medium for segmentation (arXiv:2404.10518): narrow at the end, and ReLU6."""
    return MOBILENET_V4_CONV_MEDIUM_SEG


@garden_model(size=384)
def MobileNetV4ConvLarge() -> Architecture:
    """MobileNetV4 Conv-Large (arXiv:2404.10518)."""
    return MOBILENET_V4_CONV_LARGE
