"""What every block is made of: convolutions, normalization and squeeze-and-excite."""

from dataclasses import dataclass

import keras

from mobilequant.models.activations import activate
from mobilequant.models.widths import round_width

PADDINGS = ("same", "symmetric")


@dataclass(frozen=True)
class Conventions:
    """What all blocks of one model have in common, and sources of weights differ in.

    Attributes:
        padding: of convolutions with strides: `"same"` as TensorFlow pads, with the odd row or
            column at the end, or `"symmetric"` as PyTorch's models do, by half the kernel on
            every side. Without strides the two are the same.
        batch_norm_epsilon: added to the variance.
        batch_norm_momentum: share of the moving statistics kept in each training step.
    """

    padding: str = "same"
    batch_norm_epsilon: float = 1e-3
    batch_norm_momentum: float = 0.99

    def __post_init__(self):
        if self.padding not in PADDINGS:
            raise ValueError(
                f'padding must be "same" (TensorFlow) or "symmetric" (PyTorch), '
                f"got {self.padding!r}"
            )


TENSORFLOW = Conventions()


def convolution(
    x,
    filters: int,
    kernel_size: int = 1,
    *,
    strides: int = 1,
    dilation: int = 1,
    use_bias: bool = False,
    conventions: Conventions = TENSORFLOW,
    name: str,
):
    """A convolution over all channels, padded as the conventions say."""
    x, padding = _pad(x, kernel_size, strides, conventions, name)
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        dilation_rate=dilation,
        padding=padding,
        use_bias=use_bias,
        name=name,
    )(x)


def depthwise_convolution(
    x,
    kernel_size: int,
    *,
    strides: int = 1,
    dilation: int = 1,
    conventions: Conventions = TENSORFLOW,
    name: str,
):
    """A convolution of each channel by itself, padded as the conventions say."""
    x, padding = _pad(x, kernel_size, strides, conventions, name)
    return keras.layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        dilation_rate=dilation,
        padding=padding,
        use_bias=False,
        name=name,
    )(x)


def normalize(x, name: str, conventions: Conventions = TENSORFLOW):
    """Batch normalization over the channels of `x`."""
    return keras.layers.BatchNormalization(
        epsilon=conventions.batch_norm_epsilon,
        momentum=conventions.batch_norm_momentum,
        name=name,
    )(x)


def squeeze_excite(x, ratio: float = 0.25, *, name: str):
    """Weights each channel by a gate computed from the means of all (arXiv:1709.01507).

    As in MobileNetV3 (arXiv:1905.02244): ReLU inside, hard sigmoid as the gate, the inner width
    rounded to a multiple of eight.

    Args:
        x: symbolic tensor of shape (batch, height, width, channels).
        ratio: inner channels for one channel of `x`.
        name: what the names of its layers begin with.

    Returns:
        A symbolic tensor of the shape of `x`.
    """
    channels = x.shape[-1]
    gate = keras.layers.GlobalAveragePooling2D(
        keepdims=True, name=f"{name}_squeeze_excite_avg_pool"
    )(x)
    gate = convolution(
        gate, round_width(channels * ratio), use_bias=True, name=f"{name}_squeeze_excite_conv"
    )
    gate = activate(gate, "relu", f"{name}_squeeze_excite_relu")
    gate = convolution(gate, channels, use_bias=True, name=f"{name}_squeeze_excite_conv_1")
    gate = keras.layers.Activation("hard_sigmoid", name=f"{name}_squeeze_excite_gate")(gate)
    return keras.layers.Multiply(name=f"{name}_squeeze_excite_mul")([x, gate])


def _pad(x, kernel_size: int, strides: int, conventions: Conventions, name: str):
    """The input of a convolution and the padding that is left for the convolution to do.

    SAME pads odd and even sizes as the zero padding before a VALID convolution does in
    keras.applications.MobileNetV2 and V3, and leaves no PAD operator in the .tflite file.
    """
    if conventions.padding == "same" or strides == 1 or kernel_size == 1:
        return x, "same"
    return keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"
