"""SSDLite: a detector of separable convolutions on the feature maps of any backbone.

Sources: Sandler et al. 2018, arXiv:1801.04381, section 6.2 (SSDLite); Liu et al. 2016,
arXiv:1512.02325 (SSD); widths of the extra layers and epsilon as in torchvision's
ssdlite320_mobilenet_v3_large, whose weights fit.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import keras

from mobilequant.models.activations import activate
from mobilequant.models.arguments import is_positive_integer
from mobilequant.models.bottlenecks import conv_bn, depthwise_separable
from mobilequant.models.convolution import Conventions, depthwise_convolution, normalize
from mobilequant.models.feature_pyramid import fpn_lite
from mobilequant.models.public import GARDEN
from mobilequant.models.weights.ssdlite import SSDLiteFile
from mobilequant.tasks.detection.anchors import AnchorSettings, anchors_per_cell
from mobilequant.tasks.detection.detector import Detector, DetectorNote

SCORES = ("softmax", "sigmoid")
NECKS = (None, "fpn_lite")
#: Probability of each class before training with sigmoid scores (arXiv:1708.02002, section 4.1).
_PRIOR = 0.01


def SSDLite(
    backbone: str | keras.Model = "MobileNetV2",
    classes: int = 20,
    *,
    features: Sequence[str] | None = None,
    anchors: AnchorSettings | None = None,
    scores: str = "softmax",
    extra_filters: Sequence[int] = (512, 256, 256, 128),
    neck: str | None = None,
    neck_filters: int = 128,
    neck_levels: tuple[int, int] = (3, 7),
    kernel_size: int = 3,
    activation: str = "relu6",
    padding: str | None = None,
    batch_norm_epsilon: float | None = None,
    batch_norm_momentum: float | None = None,
    weights: str | Path | None = None,
    reset_classes: bool = False,
    backbone_weights: str | Path | None = None,
    name: str | None = None,
    **backbone_options,
) -> keras.Model:
    """A detector as a plain Keras model: images in, box codes and scores of all anchors out.

    It trains with `compile` and `fit`, and what its numbers mean travels with it:

        model = mq.models.SSDLite("MobileNetV2", classes=3, input_shape=(320, 320, 3))
        detector = Detector.of(model)  # from mobilequant.tasks.detection
        model.compile("adam", loss=detector.losses(), jit_compile=False)
        model.fit(data.map(detector.targets()))  # (images, {"boxes", "labels"}), in batches
        qmodel = mq.calibrate(mq.quantize(model), data.map(lambda images, objects: images))
        boxes, scores, classes, counts = detector.detect(qmodel(images, training=False))

    Args:
        backbone: a name in `GARDEN`, such as "MobileNetV2", whose builder takes
            `backbone_options`; or a functional model of fixed input size with one or several
            feature maps as its output, which then becomes a part of this one, weights included.
        classes: number of classes, without the background.
        features: of a backbone by name, the feature maps that the head takes, see
            `mobilequant.models.features`. By default "stride16_expansion" (or "stride16", where
            there is none) and "final"; with a neck "stride8", "stride16" and "final"; finer ones
            where `output_stride` or `early_strides` make the last finer.
        anchors: their settings; by default `AnchorSettings()`.
        scores: "softmax", where channel 0 is the background, or "sigmoid", one yes or no for each
            class, for the focal loss.
        extra_filters: channels of the layers with strides of 2 after the backbone, each one more
            level; none with a neck.
        neck: "fpn_lite" for a feature pyramid of separable convolutions, or `None`.
        neck_filters: channels of its levels.
        neck_levels: the lowest and the highest level of the neck, at strides of 2 to that power.
        kernel_size: of the predictors' depthwise convolutions.
        activation: of neck, extra layers and predictors: a key of `ACTIVATIONS`.
        padding: "same" or "symmetric", of backbone and head. By default that of the source of
            `weights`; without any, "same" in the head.
        batch_norm_epsilon: the same of what is added to the variance, 1e-3 in the head.
        batch_norm_momentum: of backbone and head; 0.99 by default.
        weights: of the whole detector: a `.safetensors` file with the names of torchvision's
            ssdlite320_mobilenet_v3_large (`backbone="MobileNetV3Large"`, and `reduced_tail=True`
            for those trained from scratch, as the published ones are). It takes images in [−1, 1].
        reset_classes: with `weights`, whether the last convolutions of the class predictors stay
            random, because the file knows other classes.
        backbone_weights: of the backbone alone: what its builder takes as `weights`.
        name: of the model.
        backbone_options: such as `input_shape`, `alpha` and `output_stride`, for the builder.

    Returns:
        A functional `keras.Model` from (batch, height, width, channels) to {"boxes": (batch,
        anchors, 4) codes, "scores": (batch, anchors, classes + 1, or classes with sigmoid)
        logits}. Anchors are in the order of `make_anchors`.

    Raises:
        ValueError: an argument is out of range or does not fit another, feature maps have no
            fixed size, or the weights do not fit the model.
    """
    _check(backbone, classes, scores, neck, weights, backbone_weights, backbone_options)
    anchors = AnchorSettings() if anchors is None else anchors
    given = {
        "padding": padding,
        "batch_norm_epsilon": batch_norm_epsilon,
        "batch_norm_momentum": batch_norm_momentum,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if isinstance(backbone, str):
        options = {"weights": weights or backbone_weights, **given, **backbone_options}
        features = features or _usual_features(neck, neck_levels, **options)
        backbone = GARDEN[backbone](include_top=False, features=features, **options)
    conventions = Conventions(
        **{"padding": "symmetric" if weights else "same", "batch_norm_epsilon": 1e-3, **given}
    )
    maps = _feature_maps(backbone)
    if neck:
        levels = neck_levels[1] - neck_levels[0] + 1
        maps = fpn_lite(
            maps, levels, filters=neck_filters, activation=activation, conventions=conventions
        )
    else:
        maps += _extra_layers(maps[-1], extra_filters, activation, conventions)
    detector = Detector(
        settings=anchors,
        feature_sizes=tuple(tuple(x.shape[1:3]) for x in maps),
        image_size=tuple(backbone.inputs[0].shape[1:3]),
        classes=classes,
        background=scores == "softmax",
    )
    outputs = _predict(maps, detector, kernel_size, activation, conventions)
    model = keras.Model(backbone.input, outputs, name=name or f"ssdlite_{backbone.name}")
    if weights:
        per_cell = anchors_per_cell(anchors, len(maps))
        SSDLiteFile(weights, per_cell, len(extra_filters), reset_classes).load(model)
    return model


def _extra_layers(x, filters: Sequence[int], activation: str, conventions: Conventions) -> list:
    """Feature maps of half the size each: 1×1 to half the channels, separable with strides."""
    maps = []
    for number, width in enumerate(filters, start=1):
        name = f"extra_{number}"
        x = conv_bn(
            x,
            width // 2,
            kernel_size=1,
            activation=activation,
            conventions=conventions,
            layer_names=(f"{name}_reduce", f"{name}_reduce_bn", f"{name}_reduce_relu"),
        )
        x = depthwise_separable(
            x,
            width,
            strides=2,
            activation=activation,
            conventions=conventions,
            layer_names=(f"{name}_depthwise", f"{name}_pointwise"),
        )
        maps.append(x)
    return maps


def _predict(maps, detector: Detector, kernel_size, activation, conventions) -> dict:
    """Box codes and scores of all levels, one after the other."""
    channels = detector.classes + detector.background
    prior = 0.0 if detector.background else -math.log((1 - _PRIOR) / _PRIOR)
    per_cell = anchors_per_cell(detector.settings, len(maps))
    boxes, scores = [], []
    for number, (x, anchors) in enumerate(zip(maps, per_cell, strict=True), start=1):
        for outputs, part, width, bias in (
            (boxes, "boxes", 4, 0.0),
            (scores, "scores", channels, prior),
        ):
            name = f"level_{number}_{part}"
            y = depthwise_convolution(
                x, kernel_size, conventions=conventions, name=f"{name}_depthwise"
            )
            y = normalize(y, f"{name}_depthwise_bn", conventions)
            y = activate(y, activation, f"{name}_depthwise_relu")
            y = keras.layers.Conv2D(
                anchors * width,
                1,
                bias_initializer=keras.initializers.Constant(bias),
                name=f"{name}_pointwise",
            )(y)
            rows, columns = x.shape[1:3]
            y = keras.layers.Reshape((rows * columns * anchors, width), name=name)(y)
            outputs.append(y)
    return {
        "boxes": DetectorNote(detector, name="detector")(_joined(boxes, "boxes")),
        "scores": _joined(scores, "scores"),
    }


def _joined(levels: list, name: str):
    return keras.layers.Concatenate(axis=1, name=name)(levels) if len(levels) > 1 else levels[0]


def _usual_features(neck, neck_levels, *, output_stride=32, early_strides=(2, 2), **_):
    """The last feature map, and what lies at half its strides, or all levels of the neck."""
    last = min(output_stride, 8 * math.prod(early_strides))
    if neck is None:
        return f"stride{last // 2}_expansion|stride{last // 2}", "final"
    strides = [2**level for level in range(neck_levels[0], neck_levels[1] + 1)]
    return tuple("final" if s == last else f"stride{s}" for s in strides if s <= last)


def _feature_maps(backbone: keras.Model) -> list:
    """What the backbone gives, the finest first."""
    maps = keras.tree.flatten(
        list(backbone.output.values()) if isinstance(backbone.output, dict) else backbone.output
    )
    for tensor in (*backbone.inputs, *maps):
        if len(tensor.shape) != 4 or None in tensor.shape[1:]:
            raise ValueError(
                f"SSDLite: the backbone {backbone.name!r} has a tensor of shape {tensor.shape}; "
                "its input and its feature maps must be (batch, rows, columns, channels), with a "
                "fixed size, because anchors depend on it: give input_shape in numbers"
            )
    return sorted(maps, key=lambda x: -x.shape[1] * x.shape[2])


def _check(backbone, classes, scores, neck, weights, backbone_weights, backbone_options) -> None:
    if not is_positive_integer(classes):
        raise ValueError(f"SSDLite: classes must be a whole number of at least 1, got {classes!r}")
    for what, value, known in (("scores", scores, SCORES), ("neck", neck, NECKS)):
        if value not in known:
            raise ValueError(f"SSDLite: {what}={value!r} must be one of {known}")
    if isinstance(backbone, str):
        if backbone not in GARDEN:
            raise ValueError(f"SSDLite: backbone={backbone!r} must be one of {', '.join(GARDEN)}")
        if weights and backbone_weights:
            raise ValueError(
                "SSDLite: weights are those of backbone and head; backbone_weights has no use then"
            )
    elif backbone_options or weights or backbone_weights:
        names = [*backbone_options, *["weights"] * bool(weights)]
        names += ["backbone_weights"] * bool(backbone_weights)
        raise ValueError(
            f"SSDLite: {', '.join(names)} need a backbone by its name; {backbone.name!r} is built"
        )
    if weights and (neck or scores != "softmax"):
        raise ValueError(
            "SSDLite: weights are those of torchvision's SSDLite, which has neither a neck nor "
            "sigmoid scores; load your own with model.load_weights"
        )
