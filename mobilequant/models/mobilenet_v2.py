"""MobileNetV2: inverted residuals and linear bottlenecks.

Source: Sandler, Howard, Zhu, Zhmoginov and Chen 2018, arXiv:1801.04381, table 2. Names of layers
and the rounding of channels are those of `keras.applications.MobileNetV2`, whose weights fit.
"""

from functools import partial
from pathlib import Path

import keras

from mobilequant.models.architecture import (
    Architecture,
    ConvBN,
    InvertedBottleneck,
    scaled_and_cut,
    scaled_if_wider,
)
from mobilequant.models.builder import build

_Bottleneck = partial(InvertedBottleneck, width=scaled_and_cut)

MOBILENET_V2 = Architecture(
    name="mobilenetv2",
    rows=(
        ConvBN(32, strides=2, layer_names=("Conv1", "bn_Conv1", "Conv1_relu")),
        _Bottleneck(16, expand_ratio=1, name="expanded_conv"),
        _Bottleneck(24, strides=2, name="block_1"),
        _Bottleneck(24, name="block_2"),
        _Bottleneck(32, strides=2, name="block_3"),
        _Bottleneck(32, name="block_4"),
        _Bottleneck(32, name="block_5"),
        _Bottleneck(64, strides=2, name="block_6"),
        _Bottleneck(64, name="block_7"),
        _Bottleneck(64, name="block_8"),
        _Bottleneck(64, name="block_9"),
        _Bottleneck(96, name="block_10"),
        _Bottleneck(96, name="block_11"),
        _Bottleneck(96, name="block_12"),
        _Bottleneck(160, strides=2, name="block_13"),
        _Bottleneck(160, name="block_14"),
        _Bottleneck(160, name="block_15"),
        _Bottleneck(320, name="block_16"),
        ConvBN(
            1280,
            kernel_size=1,
            width=scaled_if_wider,
            layer_names=("Conv_1", "Conv_1_bn", "out_relu"),
        ),
    ),
)


def MobileNetV2(
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    classes: int = 1000,
    *,
    alpha: float = 1.0,
    include_top: bool = True,
    pooling: str | None = None,
    dropout: float = 0.0,
    classifier_activation="softmax",
    weights: str | Path | None = None,
    early_strides: tuple[int, int] = (2, 2),
    batch_norm_momentum: float = 0.99,
    name: str | None = None,
) -> keras.Model:
    """MobileNetV2 (arXiv:1801.04381) as a plain Keras functional model.

    With the same weights it gives the same output as `keras.applications.MobileNetV2`, and the
    weights of either load into the other.

    Args:
        input_shape: (height, width, channels) of the images in pixels, of any size, odd ones
            too, with 1 or 3 channels. The models expect values in [−1, 1]. Height and width may
            be `None`, but a `.tflite` file needs them.
        classes: outputs of the classifier; unused without the top.
        alpha: width multiplier; the channels are rounded to multiples of eight.
        include_top: whether average pooling and a classifier follow the last features.
        pooling: without the top, `"avg"` or `"max"` over the last feature map, or `None` for the
            feature map itself.
        dropout: share of the pooled features dropped in training before the classifier, in
            [0, 1).
        classifier_activation: of the classifier: a name, a function, or `None` for logits.
        weights: path of a `.weights.h5` or `.keras` file to load, or of an `.h5` file as
            `keras.applications` downloads it; `None` for random weights.
        early_strides: strides, 1 or 2, of the stem and of the first stage that halves the image
            after it. The default ends at 1/32 of the image; `(1, 1)` ends at 1/8, which leaves a
            32×32 image 4×4 features, not one. The weights have the same shapes either way.
        batch_norm_momentum: share of the moving statistics kept in each training step. The
            original's 0.999 takes thousands of steps to settle; inference does not depend on it.
        name: of the model; by default as in `keras.applications`, "mobilenetv2_1.00_224".

    Returns:
        A `keras.Model` from (batch, height, width, channels) to (batch, classes); without the
        top to (batch, features) with `pooling`, or to (batch, rows, columns, features).

    Raises:
        ValueError: an argument is out of range or does not fit another, or the weights file is
            missing or does not fit the model.
    """
    return build(
        MOBILENET_V2,
        input_shape=input_shape,
        alpha=alpha,
        classes=classes,
        include_top=include_top,
        pooling=pooling,
        dropout=dropout,
        classifier_activation=classifier_activation,
        weights=weights,
        early_strides=early_strides,
        batch_norm_momentum=batch_norm_momentum,
        name=name,
    )
