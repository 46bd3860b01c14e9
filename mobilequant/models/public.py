"""One signature and one documentation for all builders of the garden.

A builder is written as a function from its own options to an `Architecture`, with a docstring
that says what is special about it. `garden_model` adds the arguments that all have in common,
and their documentation, so that `help()` and `inspect.signature` show the whole.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from mobilequant.models.architecture import Architecture
from mobilequant.models.builder import build

#: Every public builder by its name.
GARDEN: dict[str, Callable[..., keras.Model]] = {}


def garden_model(*, size: int) -> Callable:
    """A decorator that makes a public builder of a function that returns an `Architecture`.

    Args:
        size: height and width of the images that the model was made for, in pixels.
    """

    def decorate(choose: Callable[..., Architecture]) -> Callable[..., keras.Model]:
        own = inspect.signature(choose).parameters
        signature = _signature(size, own)

        @functools.wraps(choose)
        def builder(*args, **kwargs):
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{choose.__name__}(): {error}") from None
            bound.apply_defaults()
            options = {name: bound.arguments.pop(name) for name in own}
            return build(choose(**options), **bound.arguments)

        del builder.__wrapped__
        builder.__signature__ = signature
        builder.__annotations__ = {n: p.annotation for n, p in signature.parameters.items()}
        builder.__doc__ = _document(choose, size)
        GARDEN[choose.__name__] = builder
        return builder

    return decorate


def _common(
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    classes: int = 1000,
    *,
    alpha: float = 1.0,
    include_top: bool = True,
    features: bool | Sequence[str] = False,
    pooling: str | None = None,
    dropout: float = 0.0,
    classifier_activation="softmax",
    weights: str | Path | None = None,
    early_strides: tuple[int, int] = (2, 2),
    output_stride: int = 32,
    stochastic_depth: float = 0.0,
    padding: str | None = None,
    batch_norm_epsilon: float | None = None,
    batch_norm_momentum: float = 0.99,
    name: str | None = None,
) -> keras.Model:
    """Args:
        input_shape: (height, width, channels) of the images in pixels, of any size, odd ones
            too, with 1 or 3 channels. The default is the size that the model was made for,
            {size}×{size}. The models expect values in [−1, 1], but for imported weights those
            that they were trained with. Height and width may be `None`, but a `.tflite` file
            needs them.
        classes: outputs of the classifier; unused without the top.
        alpha: width multiplier; the channels are rounded as the source rounds them.
        include_top: whether global pooling, what follows it, and a classifier come after the
            last features.
        features: without the top, `True` or names: the output is then a dictionary of feature
            maps, {{"stride2": …, "stride4": …, … "stride32": …}} for `True`, each the last level
            at that share of the image. Other names: "level2" and on for the levels by the
            authors' numbers, "stride8_first" for the first block at a stride (torchvision's
            LR-ASPP takes it), "stride16_expansion" for the expanded tensor inside the block that
            leaves stride 16 (SSDLite takes it), "final" for the last feature map. With "|"
            between them, the first of several names that the network has.
        pooling: without the top, `"avg"` or `"max"` over the last feature map, or `None` for the
            feature map itself.
        dropout: share of the pooled features dropped in training before the classifier, in
            [0, 1).
        classifier_activation: of the classifier: a name, a function, or `None` for logits.
        weights: `None` for random weights; `"imagenet"` for those that `keras.applications`
            downloads (MobileNet V1, V2 and V3); `"hf-hub:owner/name"` for a repository on the
            Hugging Face hub; or the path of a `.weights.h5`, `.keras` or `.h5` file, or of a
            `.safetensors` file with the names of timm or torchvision. Most of those were trained
            on pixels less the ImageNet mean, divided by its standard deviation.
        early_strides: strides, 1 or 2, of the stem and of the first stage that halves the image
            after it. The default ends at 1/32 of the image; `(1, 1)` ends at 1/8, which leaves a
            32×32 image 4×4 features, not one. The weights have the same shapes either way.
        output_stride: 8, 16 or 32: the last features are at least this share of the image. Where
            strides would make them smaller, the kernels after them are dilated instead
            (arXiv:1606.00915); with torchvision's weights the kernel that loses its strides is,
            too, as it is there. The weights have the same shapes either way.
        stochastic_depth: probability of dropping the last residual block in training; earlier
            ones are dropped less, in proportion to their number (arXiv:1603.09382).
        padding: of convolutions with strides: `"same"` (TensorFlow) or `"symmetric"` (PyTorch).
            `None` takes that of the source of the weights, or `"same"` without any. Given in so
            many words, it wins over the weights.
        batch_norm_epsilon: added to the variance in batch normalization. `None` takes that of the
            source of the weights, or {epsilon} without any; a number wins over the weights.
        batch_norm_momentum: share of the moving statistics kept in each training step. The
            originals' 0.99 to 0.999 take thousands of steps to settle; inference does not depend
            on it.
        name: of the model; by default such as "{example}".

    Returns:
        A plain functional `keras.Model` from (batch, height, width, channels) to (batch,
        classes); without the top to (batch, features) with `pooling`, to a dictionary of feature
        maps with `features`, or to (batch, rows, columns, features).

    Raises:
        ValueError: an argument is out of range or does not fit another, or the weights file is
            missing, damaged or does not fit the model; names that it lacks or has too many are
            listed.
    """


def _signature(size: int, own: dict[str, inspect.Parameter]) -> inspect.Signature:
    """The common parameters with this default size, and the builder's own before `name`."""
    common = inspect.signature(_common)
    parameters = list(common.parameters.values())
    parameters[0] = parameters[0].replace(default=(size, size, 3))
    parameters[-1:-1] = own.values()
    return common.replace(parameters=parameters)


def _document(choose: Callable[..., Architecture], size: int) -> str:
    """The function's own docstring, with its arguments among the common ones."""
    architecture = choose()
    own, _, own_arguments = inspect.getdoc(choose).partition("Args:\n")
    common = inspect.getdoc(_common).format(
        size=size,
        epsilon=architecture.batch_norm_epsilon,
        example=f"{architecture.name}_1.00_{size}",
    )
    common_arguments, name, rest = common.partition("    name: ")
    if own_arguments:
        own_arguments = own_arguments.rstrip() + "\n"
    return f"{own.rstrip()}\n\n{common_arguments}{own_arguments}{name}{rest}"
