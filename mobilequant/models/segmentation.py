"""Segmentation heads on any backbone: LR-ASPP and reduced ASPP.

Sources: Howard et al. 2019, arXiv:1905.02244, section 6.4 (Lite R-ASPP); Sandler et al. 2018,
arXiv:1801.04381, section 6.3 (reduced DeepLabv3); widths, epsilon and names of weights of LR-ASPP
as in torchvision's lraspp_mobilenet_v3_large.
"""

import math
import numbers
from pathlib import Path

import keras

from mobilequant.layers import ArgMax
from mobilequant.models.activations import activate
from mobilequant.models.arguments import is_positive_integer
from mobilequant.models.convolution import Conventions, convolution, normalize
from mobilequant.models.public import GARDEN
from mobilequant.models.weights.lraspp import LRASPPFile

#: What a model can give, see `LRASPP`.
OUTPUTS = ("logits", "head", "classes")
#: torchvision's, of the head alone.
_TORCHVISION_EPSILON = 1e-5


def LRASPP(
    backbone: str | keras.Model = "MobileNetV3Large",
    classes: int = 21,
    *,
    low_level: str = "stride8_first",
    filters: int = 128,
    activation: str = "relu",
    dropout: float = 0.0,
    output: str = "logits",
    batch_norm_epsilon: float = 1e-3,
    batch_norm_momentum: float = 0.99,
    weights: str | Path | None = None,
    reset_classes: bool = False,
    backbone_weights: str | Path | None = None,
    name: str | None = None,
    **backbone_options,
) -> keras.Model:
    """Lite reduced atrous spatial pyramid pooling: the head of MobileNetV3's segmentation.

    The last features, weighted channel by channel by a gate made of their means, and an earlier
    feature map each give class scores, which are added. The convolution that gives the scores of
    the last features comes before they are resized, not after: the two commute, and so it is the
    cheaper by the square of the ratio of strides.

        model = mq.models.LRASPP("MobileNetV3Large", classes=19, input_shape=(512, 1024, 3))

    Args:
        backbone: a name in `GARDEN`, such as "MobileNetV2", whose builder takes
            `backbone_options`; or a functional model with two feature maps as its output (a
            garden model built with `features=("stride8_first", "final")`), which then becomes a
            part of this one, weights included.
        classes: number of classes, void not counted.
        low_level: of a backbone by name, the earlier feature map, see
            `mobilequant.models.features`.
        filters: channels of the head.
        activation: of the head: a key of `ACTIVATIONS`.
        dropout: share of the head's features dropped in training, in [0, 1).
        output: "logits" at the size of the image, "head" for logits at the size of the earlier
            feature map (1/8 of the image), or "classes" for the index of the largest logit of
            each pixel, int32, which is no output to train on.
        batch_norm_epsilon: added to the variance in the head.
        batch_norm_momentum: in the head, and in a backbone by name.
        weights: of the whole model: a `.safetensors` file with the names of torchvision's
            lraspp_mobilenet_v3_large (`backbone="MobileNetV3Large"`). Most of those were trained
            on pixels less the ImageNet mean, divided by its standard deviation.
        reset_classes: with `weights`, whether the convolutions that give the scores stay random,
            because the file knows other classes.
        backbone_weights: of the backbone alone: what its builder takes as `weights`.
        name: of the model.
        backbone_options: such as `input_shape`, `alpha` and `output_stride` (16 unless given: 8,
            16 or 32), for the builder.

    Returns:
        A functional `keras.Model` from (batch, height, width, channels) to (batch, height, width,
        classes), to (batch, height / 8, width / 8, classes) for "head", or to (batch, height,
        width) int32 for "classes".

    Raises:
        ValueError: an argument is out of range or does not fit another, or the weights do not fit
            the model.
    """
    _check("LRASPP", classes, filters, dropout, output)
    _check_weights("LRASPP", backbone, weights, backbone_weights, backbone_options)
    options = {"batch_norm_momentum": batch_norm_momentum, **backbone_options}
    backbone = _built("LRASPP", backbone, (low_level, "final"), weights, backbone_weights, options)
    low, high = _two_maps("LRASPP", backbone)
    epsilon = _TORCHVISION_EPSILON if weights else batch_norm_epsilon
    conventions = Conventions("same", epsilon, batch_norm_momentum)

    x = _conv_bn(high, filters, activation, conventions, "head")
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(high)
    gate = convolution(gate, filters, name="head_gate_conv")
    gate = keras.layers.Activation("sigmoid", name="head_gate")(gate)
    x = keras.layers.Multiply(name="head_gated")([x, gate])
    x = _drop(x, dropout)
    x = convolution(x, classes, use_bias=True, name="high_classes")
    x = _resized(x, low.shape[1:3], "high_resized")
    low = convolution(low, classes, use_bias=True, name="low_classes")
    logits = keras.layers.Add(name="head_logits")([low, x])
    model = _finish(backbone, logits, output, name or f"lraspp_{backbone.name}")
    if weights:
        LRASPPFile(weights, reset_classes).load(model)
    return model


def RASPP(
    backbone: str | keras.Model = "MobileNetV2",
    classes: int = 21,
    *,
    filters: int = 256,
    activation: str = "relu",
    dropout: float = 0.0,
    output: str = "logits",
    batch_norm_epsilon: float = 1e-3,
    batch_norm_momentum: float = 0.99,
    backbone_weights: str | Path | None = None,
    name: str | None = None,
    **backbone_options,
) -> keras.Model:
    """Reduced DeepLabv3: of atrous spatial pyramid pooling the 1×1 and the pooled branch alone.

        model = mq.models.RASPP("MobileNetV2", classes=21, input_shape=(513, 513, 3))

    Args:
        backbone: a name in `GARDEN`, whose builder takes `backbone_options`; or a functional
            model, which then becomes a part of this one; of several feature maps the smallest
            is taken.
        classes, activation, dropout, batch_norm_epsilon, batch_norm_momentum, backbone_weights,
            name: as for `LRASPP`.
        filters: channels of either branch and of what joins them.
        output: "logits" at the size of the image, "head" for logits at the size of the last
            features, or "classes" for the index of the largest logit of each pixel, int32.
        backbone_options: such as `input_shape`, `alpha` and `output_stride` (16 unless given: 8,
            16 or 32), for the builder.

    Returns:
        A functional `keras.Model` from (batch, height, width, channels) to (batch, height, width,
        classes), or as `output` says.

    Raises:
        ValueError: an argument is out of range or does not fit another, or the weights do not fit
            the backbone.
    """
    _check("RASPP", classes, filters, dropout, output)
    _check_weights("RASPP", backbone, None, backbone_weights, backbone_options)
    options = {"batch_norm_momentum": batch_norm_momentum, **backbone_options}
    backbone = _built("RASPP", backbone, ("final",), None, backbone_weights, options)
    x = _maps("RASPP", backbone)[-1]
    conventions = Conventions("same", batch_norm_epsilon, batch_norm_momentum)

    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)
    pooled = _conv_bn(pooled, filters, activation, conventions, "head_pooled")
    pooled = _resized(pooled, x.shape[1:3], "head_pooled_resized")
    x = _conv_bn(x, filters, activation, conventions, "head")
    x = keras.layers.Concatenate(name="head_joined")([pooled, x])
    x = _conv_bn(x, filters, activation, conventions, "head_projection")
    x = _drop(x, dropout)
    logits = convolution(x, classes, use_bias=True, name="head_logits")
    return _finish(backbone, logits, output, name or f"raspp_{backbone.name}")


def _built(head, backbone, features, weights, backbone_weights, options) -> keras.Model:
    """The backbone as a model that gives feature maps."""
    if not isinstance(backbone, str):
        return backbone
    if backbone not in GARDEN:
        raise ValueError(f"{head}: backbone={backbone!r} must be one of {', '.join(GARDEN)}")
    options = {"output_stride": 16, "weights": weights or backbone_weights, **options}
    return GARDEN[backbone](include_top=False, features=features, **options)


def _maps(head, backbone) -> list:
    """What the backbone gives, the finest first."""
    # A Sequential model that was never called has `outputs` alone; a dictionary keeps its order.
    maps = backbone.outputs if isinstance(backbone, keras.Sequential) else backbone.output
    maps = keras.tree.flatten(list(maps.values()) if isinstance(maps, dict) else maps)
    for tensor in (*backbone.inputs, *maps):
        if len(tensor.shape) != 4 or None in tensor.shape[1:]:
            raise ValueError(
                f"{head}: the backbone {backbone.name!r} has a tensor of shape {tensor.shape}; its "
                "input and its feature maps must be (batch, rows, columns, channels) of a fixed "
                "size, to which the scores are resized: give input_shape in numbers"
            )
    # Stable: where dilation takes all strides away, the last still comes last.
    return sorted(maps, key=lambda x: -x.shape[1] * x.shape[2])


def _two_maps(head, backbone) -> list:
    maps = _maps(head, backbone)
    if len(maps) != 2:
        raise ValueError(
            f"{head}: the backbone {backbone.name!r} gives {len(maps)} feature maps, not two: an "
            'earlier one and the last. Build it with features=("stride8_first", "final")'
        )
    return maps


def _conv_bn(x, filters, activation, conventions, name):
    x = convolution(x, filters, name=f"{name}_conv")
    x = normalize(x, f"{name}_conv_bn", conventions)
    return activate(x, activation, f"{name}_{activation}")


def _drop(x, dropout):
    return keras.layers.Dropout(dropout, name="head_dropout")(x) if dropout else x


def _resized(x, size, name):
    if tuple(x.shape[1:3]) == tuple(size):
        return x
    resize = keras.layers.Resizing(*size, interpolation="bilinear", name=name)
    # Its own default is to train, which Keras hands on to all layers behind it.
    return resize(x, training=False)


def _finish(backbone, logits, output, name) -> keras.Model:
    if output != "head":
        logits = _resized(logits, backbone.inputs[0].shape[1:3], "logits")
    if output == "classes":
        logits = ArgMax(name="classes")(logits)
    return keras.Model(backbone.inputs[0], logits, name=name)


def _check(head, classes, filters, dropout, output) -> None:
    for what, value in (("classes", classes), ("filters", filters)):
        if not is_positive_integer(value):
            raise ValueError(f"{head}: {what} must be a whole number of at least 1, got {value!r}")
    if not isinstance(dropout, numbers.Real) or not 0 <= dropout < 1 or not math.isfinite(dropout):
        raise ValueError(f"{head}: dropout must be at least 0 and below 1, got {dropout!r}")
    if output not in OUTPUTS:
        raise ValueError(f"{head}: output={output!r} must be one of {OUTPUTS}")


def _check_weights(head, backbone, weights, backbone_weights, backbone_options) -> None:
    if isinstance(backbone, str):
        if weights and backbone_weights:
            raise ValueError(
                f"{head}: weights are those of backbone and head; backbone_weights has no use then"
            )
    elif backbone_options or weights or backbone_weights:
        names = [*backbone_options, *["weights"] * bool(weights)]
        names += ["backbone_weights"] * bool(backbone_weights)
        raise ValueError(
            f"{head}: {', '.join(names)} need a backbone by its name; {backbone.name!r} is built"
        )
