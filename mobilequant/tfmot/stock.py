"""Keras 3 layers for those of tf_keras: from class and configuration."""

from __future__ import annotations

import inspect

import keras
import numpy as np

from mobilequant.tfmot.wrappers import Refused

#: Classes that are the same in Keras 3; those that TFMOT quantizes, and what goes with them.
_SAME = (
    "ActivityRegularization",
    "Activation",
    "Add",
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "LeakyReLU",
    "MaxPooling1D",
    "MaxPooling2D",
    "Permute",
    "ReLU",
    "Reshape",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
)

#: Names of arguments and weights in tf_keras, and in Keras 3 where they differ.
_ARGUMENTS = {"alpha": "negative_slope"}
_WEIGHTS = {"depthwise_kernel": "kernel"}


def stock_layer(layer, activation, name):
    """A Keras 3 layer that computes what a tf_keras layer does, without its weights.

    Args:
        layer: The tf_keras layer.
        activation: Name of its activation, or None.
        name: Of the new layer.

    Raises:
        Refused: There is no such layer.
    """
    kind = _class_of(layer)
    known = inspect.signature(kind.__init__).parameters
    given = {_ARGUMENTS.get(key, key): value for key, value in layer.get_config().items()}
    arguments = {key: _plain(value) for key, value in given.items() if _is_kept(key, known)}
    if "activation" in known:
        arguments["activation"] = activation or "linear"
    if kind is keras.layers.BatchNormalization and not isinstance(arguments["axis"], int):
        (arguments["axis"],) = arguments["axis"]
    try:
        new = kind.from_config({**arguments, "name": name})
    except (TypeError, ValueError) as error:
        raise Refused(f"Keras 3 has no such {kind.__name__}: {error}") from error
    new.trainable = layer.trainable
    return new


def copy_weights(layer, weights):
    """Gives a built Keras 3 layer the weights of a tf_keras layer.

    Args:
        layer: The Keras 3 layer.
        weights: Arrays by their tf_keras names.
    """
    weights = {_WEIGHTS.get(name, name): value for name, value in weights.items()}
    for variable in layer.weights:
        if variable.name in weights:
            variable.assign(weights[variable.name])
        elif "seed" not in variable.name:
            raise Refused(f"does not hold its {variable.name!r}.")


def _class_of(layer):
    kind = type(layer)
    if kind.__name__ == "SyncBatchNormalization":
        return keras.layers.BatchNormalization
    # A class of the user's own may have a stock one's name.
    if kind.__module__.startswith("tf_keras.") and kind.__name__ in _SAME:
        return getattr(keras.layers, kind.__name__)
    raise Refused(
        f"is a {kind.__name__}, which cannot be taken over: rebuild the model in Keras 3 and "
        "quantize it with mobilequant.quantize."
    )


def _is_kept(key, known):
    # Weights are copied, and variables are float32.
    return key in known and not key.endswith("_initializer") and key not in ("name", "dtype")


def _plain(value):
    if isinstance(value, np.ndarray):
        return value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, (list, tuple)):
        return type(value)(value) if type(value) in (list, tuple) else list(value)
    return value
