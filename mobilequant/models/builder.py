"""The one builder: an architecture's table in, a plain `keras.Model` out."""

import math
import numbers
from pathlib import Path

import keras

from mobilequant.models import blocks
from mobilequant.models.architecture import Architecture
from mobilequant.models.weights import check_weights_path, load_weights

_POOLINGS = {
    None: None,
    "avg": ("global_average_pooling2d", keras.layers.GlobalAveragePooling2D),
    "max": ("global_max_pooling2d", keras.layers.GlobalMaxPooling2D),
}


def build(
    architecture: Architecture,
    *,
    input_shape: tuple[int | None, int | None, int],
    alpha: float,
    classes: int,
    include_top: bool,
    pooling: str | None,
    dropout: float,
    classifier_activation,
    weights: str | Path | None,
    early_strides: tuple[int, int],
    batch_norm_momentum: float,
    name: str | None,
) -> keras.Model:
    """Builds a classifier or a backbone. The public functions of each family document the rest.

    Args:
        architecture: the table to read.
        input_shape: (height, width, channels) in pixels; height and width may be `None`.
        alpha: width multiplier.
        classes: outputs of the classifier.
        include_top: whether pooling and a classifier follow the last features.
        pooling: without the top, `None`, `"avg"` or `"max"`.
        dropout: share of the pooled features dropped in training, before the classifier.
        classifier_activation: of the classifier; `None` gives logits.
        weights: path of a weights file, or `None` for random ones.
        early_strides: strides of the first two blocks that halve the image.
        batch_norm_momentum: share of the moving statistics kept in each training step.
        name: of the model.

    Returns:
        A functional `keras.Model` from (batch, height, width, channels) to (batch, classes) with
        the top, to (batch, features) with `pooling`, else to the last feature map.

    Raises:
        ValueError: an argument is out of range or does not fit another, or the weights file
            does not fit the model.
    """
    _check_layout()
    input_shape = _checked_input_shape(input_shape)
    _check_positive("alpha", alpha, "1.0 is the original width")
    early_strides = _checked_early_strides(early_strides)
    if not 0 <= batch_norm_momentum < 1:
        raise ValueError(
            f"batch_norm_momentum must be at least 0 and below 1, got {batch_norm_momentum!r}"
        )
    if include_top:
        _check_top(classes, pooling, dropout, classifier_activation)
    else:
        _check_no_top(pooling, dropout)
    if weights is not None:
        weights = check_weights_path(weights)

    settings = blocks.Settings(
        alpha=alpha,
        batch_norm_epsilon=architecture.batch_norm_epsilon,
        batch_norm_momentum=batch_norm_momentum,
    )
    image = x = keras.Input(input_shape, name="image")
    for row in architecture.with_early_strides(early_strides).rows:
        x = blocks.apply(row, x, settings)
    if include_top:
        x = _pool(x, "avg")
        if dropout:
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        x = keras.layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    elif pooling is not None:
        x = _pool(x, pooling)

    model = keras.Model(image, x, name=name or f"{architecture.name}_{alpha:0.2f}_{input_shape[0]}")
    if weights is not None:
        load_weights(model, weights)
    return model


def _pool(x, pooling: str):
    name, layer = _POOLINGS[pooling]
    return layer(name=name)(x)


def _check_layout() -> None:
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "the models are laid out channels last, as TFLite is; call "
            'keras.config.set_image_data_format("channels_last") first'
        )


def _checked_input_shape(input_shape) -> tuple[int | None, int | None, int]:
    form = "input_shape must be (height, width, channels)"
    try:
        shape = tuple(input_shape)
    except TypeError:
        shape = ()
    if len(shape) != 3:
        raise ValueError(f"{form}, for example (224, 224, 3), got {input_shape!r}")
    *size, channels = shape
    if not all(side is None or _is_positive_integer(side) for side in size):
        raise ValueError(f"{form} with whole sizes of at least 1 (or None), got {input_shape!r}")
    if not _is_positive_integer(channels):
        raise ValueError(f"{form} with 1 or 3 channels, got {input_shape!r}")
    if size[0] in (1, 3) and channels > 4:
        raise ValueError(f"{form}: {input_shape!r} has the channels first; put them last")
    return shape


def _checked_early_strides(early_strides) -> tuple[int, int]:
    try:
        strides = tuple(early_strides)
    except TypeError:
        strides = ()
    if len(strides) != 2 or any(stride not in (1, 2) for stride in strides):
        raise ValueError(
            "early_strides must be two strides of 1 or 2: of the stem and of the first stage "
            f"that halves the image after it; (1, 1) suits 32×32 images. Got {early_strides!r}"
        )
    return strides


def _check_top(classes, pooling, dropout, classifier_activation) -> None:
    if not _is_positive_integer(classes):
        raise ValueError(f"classes must be a whole number of at least 1, got {classes!r}")
    if pooling is not None:
        raise ValueError(
            f"pooling={pooling!r} needs include_top=False: the classifier has its own pooling"
        )
    if not isinstance(dropout, numbers.Real) or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, got {dropout!r}")
    try:
        keras.activations.get(classifier_activation)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"classifier_activation={classifier_activation!r} is no Keras activation; "
            'use None for logits, "softmax", "sigmoid" or a function'
        ) from error


def _check_no_top(pooling, dropout) -> None:
    if pooling not in _POOLINGS:
        raise ValueError(f'pooling must be None, "avg" or "max", got {pooling!r}')
    if dropout:
        raise ValueError("dropout comes before the classifier and needs include_top=True")


def _check_positive(name: str, value, hint: str) -> None:
    if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0 ({hint}), got {value!r}")


def _is_positive_integer(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value > 0
