"""The networks of the low-precision benchmark, as plain Keras models."""

from __future__ import annotations

import keras
from keras import layers

import mobilequant as mq

#: Where the quantizer of what a convolution takes stands: behind ReLU, or in its place, so that
#: it sees signed values and is the nonlinearity itself ("norm": with a normalization before it).
ORDERS = ("relu", "signed", "norm")


def residual_network(widths=(24, 48, 96), blocks=2, order="relu", momentum=0.9, classes=10):
    """A small residual network at 32×32: stem of stride 2, then `blocks` convolutions a width.

    x ← x + BN(conv(ReLU(x))), with average pooling and a 1×1 convolution where the size changes.

    Args:
        widths: Channels of each stage; the size halves from one to the next.
        blocks: Residual convolutions of a stage.
        order: One of `ORDERS`.
        momentum: Of batch normalization.
        classes: Outputs (logits).
    """

    def normalize(x, name):
        return layers.BatchNormalization(momentum=momentum, name=name)(x)

    def convolve(x, width, kernel, strides, name):
        convolution = layers.Conv2D(
            width, kernel, strides, padding="same", use_bias=False, name=name
        )
        return normalize(convolution(x), f"{name}_bn")

    image = keras.Input((32, 32, 3), name="image")
    x = convolve(image, widths[0], 3, 2, "stem")
    for stage, width in enumerate(widths):
        for block in range(blocks):
            name = f"stage{stage}_block{block}"
            strides = 2 if stage and not block else 1
            y = x
            if order == "relu":
                y = layers.ReLU(name=f"{name}_relu")(x)
            elif order == "norm":
                y = normalize(x, f"{name}_norm")
            y = convolve(y, width, 3, strides, f"{name}_conv")
            if strides == 2:
                x = layers.AveragePooling2D(2, name=f"{name}_pool")(x)
            if x.shape[-1] != width:
                x = convolve(x, width, 1, 1, f"{name}_shortcut")
            x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="residual")


def mobilenet(widths=None, blocks=None):
    """A small MobileNetV2 (0.35) at 32×32; its size does not follow the residual network's."""
    return mq.models.MobileNetV2(
        (32, 32, 3),
        10,
        alpha=0.35,
        early_strides=(2, 1),
        batch_norm_momentum=0.9,
        classifier_activation=None,
    )
