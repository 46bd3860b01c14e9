"""The one builder: an architecture's table in, a plain `keras.Model` out."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import keras

from mobilequant.models import arguments, attention, bottlenecks
from mobilequant.models.architecture import (
    Architecture,
    ConvBN,
    DepthwiseSeparable,
    FusedInvertedBottleneck,
    GlobalPooling,
    InvertedBottleneck,
    MobileMQA,
    Row,
    UniversalInvertedBottleneck,
    strides_of,
)
from mobilequant.models.convolution import Conventions
from mobilequant.models.features import Levels
from mobilequant.models.weights import open_weights

#: The function that adds the layers of each kind of row.
BLOCKS = {
    ConvBN: bottlenecks.conv_bn,
    DepthwiseSeparable: bottlenecks.depthwise_separable,
    InvertedBottleneck: bottlenecks.inverted_bottleneck,
    FusedInvertedBottleneck: bottlenecks.fused_inverted_bottleneck,
    UniversalInvertedBottleneck: bottlenecks.universal_inverted_bottleneck,
    MobileMQA: attention.mobile_mqa,
}
#: Fields of a row that are no arguments of its block's function.
_OWN_FIELDS = ("filters", "width", "endpoint", "strides")
_RESIDUAL = (
    InvertedBottleneck,
    FusedInvertedBottleneck,
    UniversalInvertedBottleneck,
    MobileMQA,
)


def build(
    architecture: Architecture,
    *,
    input_shape: tuple[int | None, int | None, int],
    classes: int,
    alpha: float,
    include_top: bool,
    features: bool | Sequence[str],
    pooling: str | None,
    dropout: float,
    classifier_activation,
    weights: str | Path | None,
    early_strides: tuple[int, int],
    output_stride: int,
    stochastic_depth: float,
    padding: str | None,
    batch_norm_epsilon: float | None,
    batch_norm_momentum: float,
    name: str | None,
) -> keras.Model:
    """Builds a classifier or a backbone from the table. `public.py` documents the arguments.

    Raises:
        ValueError: an argument is out of range or does not fit another, or the weights file
            is missing, damaged or does not fit the model.
    """
    arguments.check_layout()
    input_shape = arguments.checked_input_shape(input_shape)
    arguments.check_numbers(
        alpha=alpha,
        output_stride=output_stride,
        stochastic_depth=stochastic_depth,
        batch_norm_epsilon=batch_norm_epsilon,
        batch_norm_momentum=batch_norm_momentum,
    )
    if include_top:
        arguments.check_top(classes, features, pooling, dropout, classifier_activation)
    else:
        arguments.check_no_top(features, pooling, dropout)
    architecture = architecture.with_early_strides(arguments.checked_early_strides(early_strides))
    if stochastic_depth and not any(isinstance(row, _RESIDUAL) for row in architecture.rows):
        raise ValueError(f"stochastic_depth: {architecture.name} has no residual connections")

    file = open_weights(weights, architecture, alpha, input_shape, include_top)
    network = _Network(
        architecture,
        alpha=alpha,
        output_stride=output_stride,
        dilate_strided=file.dilate_strided,
        stochastic_depth=stochastic_depth,
        conventions=Conventions(
            file.padding if padding is None else padding,
            file.batch_norm_epsilon if batch_norm_epsilon is None else batch_norm_epsilon,
            batch_norm_momentum,
        ),
    )
    image = keras.Input(input_shape, name="image")
    name = name or f"{architecture.name}_{alpha:0.2f}_{input_shape[0]}"
    x = network.body(image)
    if include_top:
        x = network.head(x)
        x = _classify(architecture, x, classes, dropout, classifier_activation)
    model = keras.Model(image, x, name=name)
    file.load(model)
    if features is not False:
        return keras.Model(image, network.levels.select(features, model), name=name)
    if pooling is not None:
        return keras.Model(image, _pool(x, pooling), name=name)
    return model


class _Network:
    """The rows of one architecture as layers, with the count of strides on the way.

    Args:
        architecture: the table.
        alpha: width multiplier.
        output_stride: where strides would make the features smaller than this share of the
            image, the kernels after them are dilated instead.
        dilate_strided: whether the convolution that so loses its strides is dilated itself, as
            in torchvision, or only those after it, as everywhere else.
        stochastic_depth: rate of the last row; those before it have less, in proportion.
        conventions: padding and normalization.

    Attributes:
        levels: the feature levels met so far.
    """

    def __init__(
        self, architecture, *, alpha, output_stride, dilate_strided, stochastic_depth, conventions
    ):
        self.levels = Levels()
        self._architecture = architecture
        self._alpha = alpha
        self._output_stride = output_stride
        self._dilate_strided = dilate_strided
        self._stochastic_depth = stochastic_depth
        self._conventions = conventions
        self._stride = 1
        self._dilation = 1

    def body(self, x):
        """The rows up to the last features."""
        rows = self._architecture.body
        for number, row in enumerate(rows, start=1):
            entering = self._stride
            x = self._add(row, x, self._stochastic_depth * number / len(rows))
            self.levels.add(row, entering, self._stride, x)
        return x

    def head(self, x):
        """Global pooling, if it is a row, and the rows after it."""
        for row in self._architecture.head:
            x = self._add(row, x, 0.0)
        return x

    def _add(self, row: Row, x, stochastic_depth: float):
        if isinstance(row, GlobalPooling):
            return keras.layers.GlobalAveragePooling2D(keepdims=True, name=row.name)(x)
        options = {f.name: getattr(row, f.name) for f in fields(row) if f.name not in _OWN_FIELDS}
        if isinstance(row, _RESIDUAL):
            options["stochastic_depth"] = stochastic_depth
        if isinstance(row, MobileMQA):
            return attention.mobile_mqa(x, conventions=self._conventions, **options)
        options["strides"], options["dilation"] = self._step(strides_of(row))
        filters = row.width(row.filters, self._alpha)
        return BLOCKS[type(row)](x, filters, conventions=self._conventions, **options)

    def _step(self, strides: int) -> tuple[int, int]:
        """Strides and dilation of the next row."""
        before = self._dilation
        if self._stride * strides <= self._output_stride:
            self._stride *= strides
            return strides, before
        self._dilation *= strides
        return 1, self._dilation if self._dilate_strided else before


def _classify(architecture: Architecture, x, classes: int, dropout: float, activation):
    """Pooling where there is none yet, dropout and the classifier."""
    if architecture.classifier_is_convolution:
        # As in keras.applications, whose weights then fit as they are.
        if not architecture.head:
            x = keras.layers.GlobalAveragePooling2D(keepdims=True, name=GlobalPooling.name)(x)
        x = _drop(x, dropout)
        x = keras.layers.Conv2D(classes, 1, padding="same", name=architecture.classifier)(x)
        x = keras.layers.Flatten(name="flatten")(x)
        if activation is None:
            return x
        return keras.layers.Activation(activation, name="predictions")(x)
    x = keras.layers.Flatten(name="flatten")(x) if architecture.head else _pool(x, "avg")
    x = _drop(x, dropout)
    return keras.layers.Dense(classes, activation=activation, name=architecture.classifier)(x)


def _drop(x, dropout: float):
    return keras.layers.Dropout(dropout, name="dropout")(x) if dropout else x


def _pool(x, pooling: str):
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    return keras.layers.GlobalMaxPooling2D(name="global_max_pooling2d")(x)
