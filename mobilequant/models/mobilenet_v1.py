"""MobileNetV1: depthwise separable convolutions.

Source: Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto and Adam 2017, arXiv:1704.04861,
table 1. Names of layers and the channels at a width multiplier are those of
`keras.applications.MobileNet`, whose weights fit.
"""

from functools import partial

from mobilequant.models.architecture import Architecture, ConvBN, DepthwiseSeparable
from mobilequant.models.public import garden_model
from mobilequant.models.widths import cut


def _block(number: int, filters: int, **options) -> DepthwiseSeparable:
    names = (f"conv_dw_{number}", f"conv_pw_{number}")
    return DepthwiseSeparable(filters, width=cut, layer_names=names, **options)


_Stem = partial(ConvBN, activation="relu6", width=cut)

MOBILENET_V1 = Architecture(
    name="mobilenet",
    rows=(
        _Stem(32, strides=2, layer_names=("conv1", "conv1_bn", "conv1_relu")),
        _block(1, 64),
        _block(2, 128, strides=2),
        _block(3, 128, endpoint=True),
        _block(4, 256, strides=2),
        _block(5, 256, endpoint=True),
        _block(6, 512, strides=2),
        _block(7, 512),
        _block(8, 512),
        _block(9, 512),
        _block(10, 512),
        _block(11, 512, endpoint=True),
        _block(12, 1024, strides=2),
        _block(13, 1024, endpoint=True),
    ),
    stages=(1, 2, 2, 6, 2),
    classifier="conv_preds",
    classifier_is_convolution=True,
)


@garden_model(size=224)
def MobileNetV1() -> Architecture:
    """MobileNetV1 (arXiv:1704.04861): a plain stack of depthwise separable convolutions.

    With the same weights it gives the same output as `keras.applications.MobileNet` at sizes
    that are multiples of 32, and the weights of either load into the other. (At other sizes
    `keras.applications` drops the last odd row and column where this model, like the authors',
    pads.) It has no residual connections, so `stochastic_depth` must stay 0.
    """
    return MOBILENET_V1
