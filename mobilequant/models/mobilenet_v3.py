"""MobileNetV3: hard-swish, squeeze-and-excite, and a cheap last stage.

Source: Howard et al. 2019, arXiv:1905.02244, tables 1 and 2. Names of layers and the rounding of
channels are those of `keras.applications.MobileNetV3Large` and `MobileNetV3Small`, whose weights
fit.
"""

from dataclasses import replace
from functools import partial

from mobilequant.models.architecture import (
    Architecture,
    ConvBN,
    GlobalPooling,
    InvertedBottleneck,
    Row,
    strides_of,
)
from mobilequant.models.public import garden_model
from mobilequant.models.widths import scaled_if_wider, six_times_scaled, unscaled

_SE = {"se_ratio": 0.25}


def _block(number: int, filters: int, activation: str, **options) -> InvertedBottleneck:
    name = f"expanded_conv_{number}" if number else "expanded_conv"
    return InvertedBottleneck(filters, activation=activation, name=name, **options)


_ConvBN = partial(ConvBN, activation="hard_swish")
_STEM = _ConvBN(16, strides=2, width=unscaled, layer_names=("conv", "conv_bn", "conv_activation"))


def _tail(features: int, pooled_features: int) -> tuple[Row, ...]:
    """The last convolution, and the one that comes after the pooling to save time."""
    return (
        _ConvBN(
            features,
            kernel_size=1,
            width=six_times_scaled,
            layer_names=("conv_1", "conv_1_bn", "conv_1_activation"),
        ),
        GlobalPooling(),
        _ConvBN(
            pooled_features,
            kernel_size=1,
            use_bias=True,
            normalized=False,
            width=scaled_if_wider,
            layer_names=("conv_2", "conv_2_bn", "conv_2_activation"),
        ),
    )


MOBILENET_V3_LARGE = Architecture(
    name="mobilenetv3_large",
    rows=(
        _STEM,
        _block(0, 16, "relu", expand_ratio=1),
        _block(1, 24, "relu", expand_ratio=4, strides=2),
        _block(2, 24, "relu", expand_ratio=3, endpoint=True),
        _block(3, 40, "relu", expand_ratio=3, kernel_size=5, strides=2, **_SE),
        _block(4, 40, "relu", expand_ratio=3, kernel_size=5, **_SE),
        _block(5, 40, "relu", expand_ratio=3, kernel_size=5, endpoint=True, **_SE),
        _block(6, 80, "hard_swish", expand_ratio=6, strides=2),
        _block(7, 80, "hard_swish", expand_ratio=2.5),
        _block(8, 80, "hard_swish", expand_ratio=2.3),
        _block(9, 80, "hard_swish", expand_ratio=2.3),
        _block(10, 112, "hard_swish", expand_ratio=6, **_SE),
        _block(11, 112, "hard_swish", expand_ratio=6, endpoint=True, **_SE),
        _block(12, 160, "hard_swish", expand_ratio=6, kernel_size=5, strides=2, **_SE),
        _block(13, 160, "hard_swish", expand_ratio=6, kernel_size=5, **_SE),
        _block(14, 160, "hard_swish", expand_ratio=6, kernel_size=5, endpoint=True, **_SE),
        *_tail(960, 1280),
    ),
    stages=(1, 2, 3, 4, 2, 3, 1),
    classifier="logits",
    classifier_is_convolution=True,
)

MOBILENET_V3_SMALL = Architecture(
    name="mobilenetv3_small",
    rows=(
        _STEM,
        _block(0, 16, "relu", expand_ratio=1, strides=2, endpoint=True, **_SE),
        _block(1, 24, "relu", expand_ratio=72 / 16, strides=2),
        _block(2, 24, "relu", expand_ratio=88 / 24, endpoint=True),
        _block(3, 40, "hard_swish", expand_ratio=4, kernel_size=5, strides=2, **_SE),
        _block(4, 40, "hard_swish", expand_ratio=6, kernel_size=5, **_SE),
        _block(5, 40, "hard_swish", expand_ratio=6, kernel_size=5, **_SE),
        _block(6, 48, "hard_swish", expand_ratio=3, kernel_size=5, **_SE),
        _block(7, 48, "hard_swish", expand_ratio=3, kernel_size=5, endpoint=True, **_SE),
        _block(8, 96, "hard_swish", expand_ratio=6, kernel_size=5, strides=2, **_SE),
        _block(9, 96, "hard_swish", expand_ratio=6, kernel_size=5, **_SE),
        _block(10, 96, "hard_swish", expand_ratio=6, kernel_size=5, endpoint=True, **_SE),
        *_tail(576, 1024),
    ),
    stages=(1, 2, 3, 2, 3, 1),
    classifier="logits",
    classifier_is_convolution=True,
)


def _variant(architecture: Architecture, minimalistic: bool, reduced_tail: bool) -> Architecture:
    rows, name = architecture.rows, architecture.name
    if minimalistic:
        rows, name = tuple(map(_minimalistic, rows)), f"{name}_minimalistic"
    if reduced_tail:
        last_stage = max(i for i, row in enumerate(rows) if strides_of(row) == 2)
        rows = (*rows[:last_stage], *map(_halved, rows[last_stage:]))
        name = f"{name}_reduced_tail"
    return replace(architecture, rows=rows, name=name)


def _minimalistic(row: Row) -> Row:
    if isinstance(row, InvertedBottleneck):
        return replace(row, kernel_size=3, se_ratio=0.0, activation="relu")
    return replace(row, activation="relu") if isinstance(row, ConvBN) else row


def _halved(row: Row) -> Row:
    return row if isinstance(row, GlobalPooling) else replace(row, filters=row.filters // 2)


@garden_model(size=224)
def MobileNetV3Large(*, minimalistic: bool = False, reduced_tail: bool = False) -> Architecture:
    """MobileNetV3-Large (arXiv:1905.02244): hard-swish and squeeze-and-excite.

    With the same weights it gives the same output as
    `keras.applications.MobileNetV3Large(include_preprocessing=False)`, and the weights of either
    load into the other. With `include_preprocessing=True`, the default there, that model takes
    pixels in [0, 255] and brings them to [−1, 1] itself; this one expects [−1, 1].

    Args:
        minimalistic: 3×3 kernels, ReLU and no squeeze-and-excite throughout, for hardware
            without the rest.
        reduced_tail: half the channels from the stage at 1/32 of the image on, as torchvision's
            SSDLite has them.
    """
    return _variant(MOBILENET_V3_LARGE, minimalistic, reduced_tail)


@garden_model(size=224)
def MobileNetV3Small(*, minimalistic: bool = False, reduced_tail: bool = False) -> Architecture:
    """MobileNetV3-Small (arXiv:1905.02244): hard-swish and squeeze-and-excite.

    With the same weights it gives the same output as
    `keras.applications.MobileNetV3Small(include_preprocessing=False)`, and the weights of either
    load into the other. With `include_preprocessing=True`, the default there, that model takes
    pixels in [0, 255] and brings them to [−1, 1] itself; this one expects [−1, 1].

    Args:
        minimalistic: 3×3 kernels, ReLU and no squeeze-and-excite throughout, for hardware
            without the rest.
        reduced_tail: half the channels from the stage at 1/32 of the image on, as torchvision's
            SSDLite has them.
    """
    return _variant(MOBILENET_V3_SMALL, minimalistic, reduced_tail)
