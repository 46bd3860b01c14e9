"""Which Keras layers each row of an architecture's table becomes."""

from dataclasses import dataclass

import keras

from mobilequant.models.architecture import ConvBN, InvertedBottleneck, Row

ACTIVATIONS = {
    "relu6": lambda name: keras.layers.ReLU(max_value=6.0, name=name),
}


@dataclass(frozen=True)
class Settings:
    """What all blocks of one model have in common.

    Attributes:
        alpha: width multiplier.
        batch_norm_epsilon: added to the variance.
        batch_norm_momentum: share of the moving statistics kept in each training step.
    """

    alpha: float
    batch_norm_epsilon: float
    batch_norm_momentum: float

    def width(self, row: Row) -> int:
        """Output channels of a row at this width multiplier."""
        return row.width(row.filters, self.alpha)

    def normalize(self, x, name: str):
        """Batch normalization over the channels of `x`."""
        return keras.layers.BatchNormalization(
            epsilon=self.batch_norm_epsilon, momentum=self.batch_norm_momentum, name=name
        )(x)


def apply(row: Row, x, settings: Settings):
    """Adds the layers of `row` to the graph.

    Args:
        row: a block of the table.
        x: symbolic tensor of shape (batch, height, width, channels).
        settings: what the model's blocks share.

    Returns:
        A symbolic tensor of shape (batch, ⌈height / strides⌉, ⌈width / strides⌉, filters).
    """
    return _BLOCKS[type(row)](row, x, settings)


def _conv_bn(row: ConvBN, x, settings: Settings):
    conv, norm, activation = row.layer_names
    x = keras.layers.Conv2D(
        settings.width(row),
        row.kernel_size,
        strides=row.strides,
        padding="same",
        use_bias=False,
        name=conv,
    )(x)
    x = settings.normalize(x, norm)
    return ACTIVATIONS[row.activation](activation)(x)


def _inverted_bottleneck(row: InvertedBottleneck, x, settings: Settings):
    shortcut = x
    activate = ACTIVATIONS[row.activation]
    if row.expand_ratio != 1:
        x = _pointwise(x, int(row.expand_ratio * x.shape[-1]), f"{row.name}_expand")
        x = settings.normalize(x, f"{row.name}_expand_BN")
        x = activate(f"{row.name}_expand_relu")(x)
    # SAME padding pads odd and even sizes as the zero padding before a VALID convolution does
    # in keras.applications, and leaves no PAD operator in the .tflite file.
    x = keras.layers.DepthwiseConv2D(
        row.kernel_size,
        strides=row.strides,
        padding="same",
        use_bias=False,
        name=f"{row.name}_depthwise",
    )(x)
    x = settings.normalize(x, f"{row.name}_depthwise_BN")
    x = activate(f"{row.name}_depthwise_relu")(x)
    x = _pointwise(x, settings.width(row), f"{row.name}_project")
    x = settings.normalize(x, f"{row.name}_project_BN")
    if row.strides == 1 and shortcut.shape[-1] == x.shape[-1]:
        x = keras.layers.Add(name=f"{row.name}_add")([shortcut, x])
    return x


def _pointwise(x, filters: int, name: str):
    return keras.layers.Conv2D(filters, 1, padding="same", use_bias=False, name=name)(x)


_BLOCKS = {ConvBN: _conv_bn, InvertedBottleneck: _inverted_bottleneck}
