"""MobileNetV2: inverted residuals and linear bottlenecks.

Source: Sandler, Howard, Zhu, Zhmoginov and Chen 2018, arXiv:1801.04381, table 2. Names of layers
and the rounding of channels are those of `keras.applications.MobileNetV2`, whose weights fit.
"""

from functools import partial

from mobilequant.models.architecture import Architecture, ConvBN, InvertedBottleneck
from mobilequant.models.public import garden_model
from mobilequant.models.widths import scaled_and_cut, scaled_if_wider

_Bottleneck = partial(InvertedBottleneck, width=scaled_and_cut, suffixes=("BN", "relu"))
_ConvBN = partial(ConvBN, activation="relu6")

MOBILENET_V2 = Architecture(
    name="mobilenetv2",
    rows=(
        _ConvBN(32, strides=2, layer_names=("Conv1", "bn_Conv1", "Conv1_relu")),
        _Bottleneck(16, expand_ratio=1, name="expanded_conv"),
        _Bottleneck(24, strides=2, name="block_1"),
        _Bottleneck(24, name="block_2", endpoint=True),
        _Bottleneck(32, strides=2, name="block_3"),
        _Bottleneck(32, name="block_4"),
        _Bottleneck(32, name="block_5", endpoint=True),
        _Bottleneck(64, strides=2, name="block_6"),
        _Bottleneck(64, name="block_7"),
        _Bottleneck(64, name="block_8"),
        _Bottleneck(64, name="block_9"),
        _Bottleneck(96, name="block_10"),
        _Bottleneck(96, name="block_11"),
        _Bottleneck(96, name="block_12", endpoint=True),
        _Bottleneck(160, strides=2, name="block_13"),
        _Bottleneck(160, name="block_14"),
        _Bottleneck(160, name="block_15"),
        _Bottleneck(320, name="block_16", endpoint=True),
        _ConvBN(
            1280,
            kernel_size=1,
            width=scaled_if_wider,
            layer_names=("Conv_1", "Conv_1_bn", "out_relu"),
        ),
    ),
    stages=(1, 2, 3, 4, 3, 3, 1),
)


@garden_model(size=224)
def MobileNetV2() -> Architecture:
    """MobileNetV2 (arXiv:1801.04381): inverted residuals with linear bottlenecks.

    With the same weights it gives the same output as `keras.applications.MobileNetV2`, and the
    weights of either load into the other.
    """
    return MOBILENET_V2
