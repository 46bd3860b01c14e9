"""Checks of the arguments of the public builders, before a layer is made."""

import math
import numbers

import keras

POOLINGS = (None, "avg", "max")


def check_layout() -> None:
    """Raises a ValueError unless Keras is set to channels last."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "the models are laid out channels last, as TFLite is; call "
            'keras.config.set_image_data_format("channels_last") first'
        )


def checked_input_shape(input_shape) -> tuple[int | None, int | None, int]:
    """The shape as a tuple (height, width, channels), or a ValueError."""
    form = "input_shape must be (height, width, channels)"
    try:
        shape = tuple(input_shape)
    except TypeError:
        shape = ()
    if len(shape) != 3:
        raise ValueError(f"{form}, for example (224, 224, 3), got {input_shape!r}")
    *size, channels = shape
    if not all(side is None or is_positive_integer(side) for side in size):
        raise ValueError(f"{form} with whole sizes of at least 1 (or None), got {input_shape!r}")
    if not is_positive_integer(channels):
        raise ValueError(f"{form} with 1 or 3 channels, got {input_shape!r}")
    if size[0] in (1, 3) and channels > 4:
        raise ValueError(f"{form}: {input_shape!r} has the channels first; put them last")
    return shape


def checked_early_strides(early_strides) -> tuple[int, int]:
    """The strides as a tuple of two, or a ValueError."""
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


def check_numbers(
    *, alpha, output_stride, stochastic_depth, batch_norm_epsilon, batch_norm_momentum
) -> None:
    """Raises a ValueError for a number out of range."""
    _check_positive("alpha", alpha, "1.0 is the original width")
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}")
    if not isinstance(stochastic_depth, numbers.Real) or not 0 <= stochastic_depth < 1:
        raise ValueError(
            f"stochastic_depth must be at least 0 and below 1, got {stochastic_depth!r}"
        )
    if batch_norm_epsilon is not None:
        _check_positive("batch_norm_epsilon", batch_norm_epsilon, "None is that of the source")
    if not isinstance(batch_norm_momentum, numbers.Real) or not 0 <= batch_norm_momentum < 1:
        raise ValueError(
            f"batch_norm_momentum must be at least 0 and below 1, got {batch_norm_momentum!r}"
        )


def check_top(classes, features, pooling, dropout, classifier_activation) -> None:
    """Raises a ValueError for what does not fit a model with a classifier."""
    if not is_positive_integer(classes):
        raise ValueError(f"classes must be a whole number of at least 1, got {classes!r}")
    if pooling is not None:
        raise ValueError(
            f"pooling={pooling!r} needs include_top=False: the classifier has its own pooling"
        )
    if features is not False:
        raise ValueError(f"features={features!r} needs include_top=False")
    if not isinstance(dropout, numbers.Real) or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, got {dropout!r}")
    try:
        keras.activations.get(classifier_activation)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"classifier_activation={classifier_activation!r} is no Keras activation; "
            'use None for logits, "softmax", "sigmoid" or a function'
        ) from error


def check_no_top(features, pooling, dropout) -> None:
    """Raises a ValueError for what does not fit a model without a classifier."""
    if pooling not in POOLINGS:
        raise ValueError(f'pooling must be None, "avg" or "max", got {pooling!r}')
    if dropout:
        raise ValueError("dropout comes before the classifier and needs include_top=True")
    if features is not False and pooling is not None:
        raise ValueError(f"pooling={pooling!r} gives one vector, features={features!r} gives maps")


def is_positive_integer(value) -> bool:
    """Whether `value` is a whole number of at least 1."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value > 0


def _check_positive(name: str, value, hint: str) -> None:
    if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0 ({hint}), got {value!r}")
