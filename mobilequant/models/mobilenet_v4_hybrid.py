"""MobileNetV4 Hybrid: universal inverted bottlenecks and Mobile MQA attention.

Source: Qin et al. 2024, "MobileNetV4: universal models for the mobile ecosystem",
arXiv:2404.10518, tables 11 and 13, and the authors' model garden. All their blocks end in a
layer scale.
"""

from dataclasses import replace
from functools import partial

from mobilequant.models.architecture import (
    Architecture,
    ConvBN,
    FusedInvertedBottleneck,
    GlobalPooling,
    MobileMQA,
    UniversalInvertedBottleneck,
    numbered,
)
from mobilequant.models.public import garden_model
from mobilequant.models.widths import scaled_if_wider

_LAYER_SCALE = 1e-5

_Conv = ConvBN
_Fused = FusedInvertedBottleneck
_MQA = partial(MobileMQA, layer_scale=_LAYER_SCALE)
_stem = partial(ConvBN, strides=2, width=scaled_if_wider)
_HEAD = ConvBN(1280, kernel_size=1, width=scaled_if_wider)


def _uib(filters: int, start: int, middle: int, **options) -> UniversalInvertedBottleneck:
    """A universal inverted bottleneck with these depthwise kernels, 0 for none."""
    return UniversalInvertedBottleneck(
        filters,
        start_kernel_size=start,
        middle_kernel_size=middle,
        layer_scale=_LAYER_SCALE,
        **options,
    )


def _with_gelu(*rows):
    return tuple(
        replace(row, activation="gelu") if hasattr(row, "activation") else row
        for row in numbered(*rows)
    )


MOBILENET_V4_HYBRID_MEDIUM = Architecture(
    name="mobilenetv4_hybrid_medium",
    rows=numbered(
        _stem(32),
        _Fused(48, strides=2, endpoint=True),
        _uib(80, 3, 5, strides=2),
        _uib(80, 3, 3, expand_ratio=2, endpoint=True),
        _uib(160, 3, 5, expand_ratio=6, strides=2),
        _uib(160, 0, 0, expand_ratio=2),
        _uib(160, 3, 3),
        _uib(160, 3, 5),
        _MQA(kv_strides=2),
        _uib(160, 3, 3),
        _MQA(kv_strides=2),
        _uib(160, 3, 0),
        _MQA(kv_strides=2),
        _uib(160, 3, 3),
        _MQA(kv_strides=2),
        _uib(160, 3, 0, endpoint=True),
        _uib(256, 5, 5, expand_ratio=6, strides=2),
        _uib(256, 5, 5),
        _uib(256, 3, 5),
        _uib(256, 3, 5),
        _uib(256, 0, 0, expand_ratio=2),
        _uib(256, 3, 5, expand_ratio=2),
        _uib(256, 0, 0, expand_ratio=2),
        _uib(256, 0, 0),
        _MQA(),
        _uib(256, 3, 0),
        _MQA(),
        _uib(256, 5, 5),
        _MQA(),
        _uib(256, 5, 0),
        _MQA(),
        _uib(256, 5, 0, endpoint=True),
        _Conv(960, kernel_size=1),
        GlobalPooling(),
        _HEAD,
    ),
    stages=(1, 2, 12, 16, 1),
)

MOBILENET_V4_HYBRID_LARGE = Architecture(
    name="mobilenetv4_hybrid_large",
    rows=_with_gelu(
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
        _MQA(num_heads=8, key_dim=48, value_dim=48, kv_strides=2),
        _uib(192, 5, 3),
        _MQA(num_heads=8, key_dim=48, value_dim=48, kv_strides=2),
        _uib(192, 5, 3),
        _MQA(num_heads=8, key_dim=48, value_dim=48, kv_strides=2),
        _uib(192, 5, 3),
        _MQA(num_heads=8, key_dim=48, value_dim=48, kv_strides=2),
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
        _MQA(num_heads=8),
        _uib(512, 5, 0),
        _MQA(num_heads=8),
        _uib(512, 5, 0),
        _MQA(num_heads=8),
        _uib(512, 5, 0),
        _MQA(num_heads=8),
        _uib(512, 5, 0, endpoint=True),
        _Conv(960, kernel_size=1),
        GlobalPooling(),
        _HEAD,
    ),
    stages=(1, 2, 15, 18, 1),
)


@garden_model(size=256)
def MobileNetV4HybridMedium() -> Architecture:
    """MobileNetV4 Hybrid-Medium (arXiv:2404.10518): with Mobile MQA attention.

    Attention needs to know how many pixels there are: height and width must be whole numbers.
    """
    return MOBILENET_V4_HYBRID_MEDIUM


@garden_model(size=384)
def MobileNetV4HybridLarge() -> Architecture:
    """MobileNetV4 Hybrid-Large (arXiv:2404.10518): with Mobile MQA attention, and GELU.

    Attention needs to know how many pixels there are: height and width must be whole numbers.
    """
    return MOBILENET_V4_HYBRID_LARGE
