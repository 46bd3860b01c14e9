"""The convolutional blocks of the MobileNets, as functions on symbolic tensors.

They are the pieces that the tables are built from, and can be used in models of one's own:

    x = mq.models.universal_inverted_bottleneck(x, 96, start_kernel_size=3, name="my_block")

All take a tensor of shape (batch, height, width, channels) and return one of shape
(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters).
"""

import keras

from mobilequant.layers import LayerScale, StochasticDepth
from mobilequant.models.activations import activate
from mobilequant.models.convolution import (
    TENSORFLOW,
    Conventions,
    convolution,
    depthwise_convolution,
    normalize,
    squeeze_excite,
)
from mobilequant.models.widths import round_width


def conv_bn(
    x,
    filters: int,
    *,
    kernel_size: int = 3,
    strides: int = 1,
    dilation: int = 1,
    activation: str = "relu",
    use_bias: bool = False,
    normalized: bool = True,
    conventions: Conventions = TENSORFLOW,
    layer_names: tuple[str, str, str] = ("conv", "bn", "activation"),
):
    """A convolution, batch normalization and an activation.

    Args:
        x: symbolic tensor.
        filters: output channels.
        kernel_size: height and width of the kernel.
        strides: 1 or 2.
        dilation: distance between the kernel's taps; needs strides of 1 where it is not 1.
        activation: a key of `ACTIVATIONS`.
        use_bias: whether the convolution adds a bias.
        normalized: whether batch normalization follows it.
        conventions: padding and normalization.
        layer_names: of the convolution, the normalization and the activation.
    """
    conv, norm, activation_name = layer_names
    x = convolution(
        x,
        filters,
        kernel_size,
        strides=strides,
        dilation=dilation if kernel_size > 1 else 1,
        use_bias=use_bias,
        conventions=conventions,
        name=conv,
    )
    if normalized:
        x = normalize(x, norm, conventions)
    return activate(x, activation, activation_name)


def depthwise_separable(
    x,
    filters: int,
    *,
    kernel_size: int = 3,
    strides: int = 1,
    dilation: int = 1,
    activation: str = "relu6",
    conventions: Conventions = TENSORFLOW,
    layer_names: tuple[str, str] = ("depthwise", "pointwise"),
):
    """MobileNetV1's block (arXiv:1704.04861): filter each channel, then mix the channels.

    Args:
        x: symbolic tensor.
        filters: output channels.
        kernel_size: height and width of the depthwise kernel.
        strides: 1 or 2, of the depthwise convolution.
        dilation: of the depthwise convolution.
        activation: a key of `ACTIVATIONS`, after both convolutions.
        conventions: padding and normalization.
        layer_names: what the names of either convolution's layers begin with.
    """
    depthwise, pointwise = layer_names
    x = depthwise_convolution(
        x,
        kernel_size,
        strides=strides,
        dilation=dilation,
        conventions=conventions,
        name=depthwise,
    )
    x = normalize(x, f"{depthwise}_bn", conventions)
    x = activate(x, activation, f"{depthwise}_relu")
    x = convolution(x, filters, name=pointwise)
    x = normalize(x, f"{pointwise}_bn", conventions)
    return activate(x, activation, f"{pointwise}_relu")


def inverted_bottleneck(
    x,
    filters: int,
    *,
    expand_ratio: float = 6,
    kernel_size: int = 3,
    strides: int = 1,
    dilation: int = 1,
    se_ratio: float = 0.0,
    activation: str = "relu6",
    residual: bool = True,
    stochastic_depth: float = 0.0,
    conventions: Conventions = TENSORFLOW,
    name: str = "bottleneck",
    suffixes: tuple[str, str] = ("bn", "activation"),
):
    """MobileNetV2's block (arXiv:1801.04381): expand, filter each channel, project back.

    There is no activation after the projection. The input is added to the output where both have
    the same shape. Without expansion (`expand_ratio=1`) the first convolution is left out. With
    `se_ratio` it is MobileNetV3's block (arXiv:1905.02244).

    Args:
        x: symbolic tensor.
        filters: output channels.
        expand_ratio: channels in the middle for one input channel, rounded to multiples of 8.
        kernel_size: height and width of the depthwise kernel.
        strides: 1 or 2, of the depthwise convolution.
        dilation: of the depthwise convolution.
        se_ratio: inner channels of squeeze-and-excite for one channel in the middle; 0 for none.
        activation: a key of `ACTIVATIONS`, after the first two convolutions.
        residual: whether the input may be added to the output.
        stochastic_depth: probability of dropping the block in training where the input is added.
        conventions: padding and normalization.
        name: what the names of its layers begin with.
        suffixes: what the names of normalizations and activations end with.
    """
    norm, act = suffixes
    shortcut = x
    if expand_ratio != 1:
        x = convolution(x, round_width(expand_ratio * x.shape[-1]), name=f"{name}_expand")
        x = normalize(x, f"{name}_expand_{norm}", conventions)
        x = activate(x, activation, f"{name}_expand_{act}")
    x = depthwise_convolution(
        x,
        kernel_size,
        strides=strides,
        dilation=dilation,
        conventions=conventions,
        name=f"{name}_depthwise",
    )
    x = normalize(x, f"{name}_depthwise_{norm}", conventions)
    x = activate(x, activation, f"{name}_depthwise_{act}")
    if se_ratio:
        x = squeeze_excite(x, se_ratio, name=name)
    x = convolution(x, filters, name=f"{name}_project")
    x = normalize(x, f"{name}_project_{norm}", conventions)
    return add_residual(shortcut, x, strides, residual, stochastic_depth, name)


def fused_inverted_bottleneck(
    x,
    filters: int,
    *,
    expand_ratio: float = 4,
    kernel_size: int = 3,
    strides: int = 1,
    dilation: int = 1,
    activation: str = "relu",
    residual: bool = True,
    stochastic_depth: float = 0.0,
    conventions: Conventions = TENSORFLOW,
    name: str = "fused_bottleneck",
):
    """The inverted bottleneck with expansion and depthwise filter as one full convolution.

    More multiply-adds, but of the kind that accelerators do fastest: the early layers of
    MobileNet-EdgeTPU and of MobileNetV4 (arXiv:2404.10518). Without expansion
    (`expand_ratio=1`) only the linear projection is left, as in the authors' code.

    Args:
        x: symbolic tensor.
        filters: output channels.
        expand_ratio: channels in the middle for one input channel, rounded to multiples of 8.
        kernel_size: height and width of the expanding kernel.
        strides: 1 or 2, of the expanding convolution.
        dilation: of the expanding convolution.
        activation: a key of `ACTIVATIONS`, after the expansion.
        residual: whether the input may be added to the output.
        stochastic_depth: probability of dropping the block in training where the input is added.
        conventions: padding and normalization.
        name: what the names of its layers begin with.

    Raises:
        ValueError: strides without an expansion to do them.
    """
    shortcut = x
    if expand_ratio == 1 and strides != 1:
        raise ValueError(f"{name}: without expansion (expand_ratio=1) strides must be 1")
    if expand_ratio != 1:
        x = convolution(
            x,
            round_width(expand_ratio * x.shape[-1]),
            kernel_size,
            strides=strides,
            dilation=dilation,
            conventions=conventions,
            name=f"{name}_expand",
        )
        x = normalize(x, f"{name}_expand_bn", conventions)
        x = activate(x, activation, f"{name}_expand_activation")
    x = convolution(x, filters, name=f"{name}_project")
    x = normalize(x, f"{name}_project_bn", conventions)
    return add_residual(shortcut, x, strides, residual, stochastic_depth, name)


def universal_inverted_bottleneck(
    x,
    filters: int,
    *,
    expand_ratio: float = 4,
    start_kernel_size: int = 0,
    middle_kernel_size: int = 3,
    end_kernel_size: int = 0,
    strides: int = 1,
    dilation: int = 1,
    activation: str = "relu",
    layer_scale: float | None = None,
    residual: bool = True,
    stochastic_depth: float = 0.0,
    conventions: Conventions = TENSORFLOW,
    name: str = "universal_bottleneck",
):
    """MobileNetV4's universal inverted bottleneck, UIB (arXiv:2404.10518, section 4).

    A 1×1 expansion and a 1×1 projection, with up to three depthwise convolutions around them.
    Which ones are there (kernel size not 0) makes the kind of the block:

    | start | middle | kind                                                        |
    | ----- | ------ | ----------------------------------------------------------- |
    | no    | yes    | inverted bottleneck, as in MobileNetV2                      |
    | yes   | no     | ConvNext-like: filters in space before the expansion, cheap |
    | yes   | yes    | extra depthwise: larger receptive field                     |
    | no    | no     | feed-forward network: two 1×1 convolutions                  |

    An end kernel, after the projection, exists in the authors' code; no published model has one.
    Only the expansion and the middle kernel are followed by an activation.

    Args:
        x: symbolic tensor.
        filters: output channels.
        expand_ratio: channels in the middle for one input channel, rounded to multiples of 8.
        start_kernel_size: of the depthwise convolution before the expansion, 0 for none.
        middle_kernel_size: of the one after the expansion, 0 for none.
        end_kernel_size: of the one after the projection, 0 for none.
        strides: 1 or 2, of the middle kernel, else of the start kernel, else of the end kernel.
        dilation: of the depthwise convolutions.
        activation: a key of `ACTIVATIONS`.
        layer_scale: initial value of a `LayerScale` at the end, `None` for none.
        residual: whether the input is added to the output where both have the same shape.
        stochastic_depth: probability of dropping the block in training where the input is added.
        conventions: padding and normalization.
        name: what the names of its layers begin with.

    Raises:
        ValueError: strides without a depthwise convolution to do them.
    """
    kernels = {"middle": middle_kernel_size, "start": start_kernel_size, "end": end_kernel_size}
    strided = next((place for place, size in kernels.items() if size), None)
    if strides != 1 and strided is None:
        raise ValueError(f"{name}: strides={strides} need a depthwise kernel; all sizes are 0")

    def depthwise(x, place):
        x = depthwise_convolution(
            x,
            kernels[place],
            strides=strides if place == strided else 1,
            dilation=dilation,
            conventions=conventions,
            name=f"{name}_{place}",
        )
        return normalize(x, f"{name}_{place}_bn", conventions)

    shortcut = x
    if start_kernel_size:
        x = depthwise(x, "start")
    x = convolution(x, round_width(expand_ratio * x.shape[-1]), name=f"{name}_expand")
    x = normalize(x, f"{name}_expand_bn", conventions)
    x = activate(x, activation, f"{name}_expand_activation")
    if middle_kernel_size:
        x = depthwise(x, "middle")
        x = activate(x, activation, f"{name}_middle_activation")
    x = convolution(x, filters, name=f"{name}_project")
    x = normalize(x, f"{name}_project_bn", conventions)
    if end_kernel_size:
        x = depthwise(x, "end")
    if layer_scale is not None:
        x = LayerScale(layer_scale, name=f"{name}_layer_scale")(x)
    return add_residual(shortcut, x, strides, residual, stochastic_depth, name)


def add_residual(shortcut, x, strides: int, residual: bool, stochastic_depth: float, name: str):
    """`shortcut + x` where a residual connection is wanted and possible, else `x`."""
    if not residual or strides != 1 or shortcut.shape[-1] != x.shape[-1]:
        return x
    if stochastic_depth:
        x = StochasticDepth(stochastic_depth, name=f"{name}_stochastic_depth")(x)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])
