"""Tensors of PyTorch models in a safetensors file, given to the layers of a Keras model."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from mobilequant.layers import LayerScale
from mobilequant.models.weights.source import Source, describe_misfit

_IGNORED = "num_batches_tracked"


class SafetensorsFile(Source):
    """Base of the kinds of files; they differ in which tensor belongs to which layer.

    Args:
        path: of the file.
    """

    #: {name in the file: the name by which `_pairs` knows it}.
    _names: dict[str, str]
    #: (name of a layer, what the names of its tensors begin with).
    _pairs: Sequence[tuple[str, str]]

    def __init__(self, path: Path):
        super().__init__()
        self._path = path

    def load(self, model: keras.Model) -> None:
        stored = {self._names[key]: key for key in self._names if not key.endswith(_IGNORED)}
        wanted = {}
        for layer_name, prefix in self._pairs:
            layer = model.get_layer(layer_name)
            for variable in layer.weights:
                wanted[f"{prefix}.{_pytorch_name(layer, variable)}"] = (layer, variable)
        missing = [name for name in wanted if name not in stored]
        extra = [key for name, key in stored.items() if name not in wanted and self._counts(name)]
        misshapen, values = [], {}
        with self._open() as file:
            for name in wanted.keys() & stored.keys():
                layer, variable = wanted[name]
                array = file.get_tensor(stored[name])
                value = _keras_layout(layer, variable, array)
                if value is None:
                    misshapen.append(_misshapen(stored[name], array, variable))
                values[name] = value
        misfit = describe_misfit(sorted(missing), sorted(extra), sorted(misshapen))
        if misfit:
            raise ValueError(
                f"{self._path} does not fit the model {model.name!r}: {misfit}{self._hint(model)}"
            )
        for name, value in values.items():
            wanted[name][1].assign(value)

    def _counts(self, name: str) -> bool:
        """Whether a name that the model has no place for is an error."""
        return True

    def _hint(self, model: keras.Model) -> str:
        """What to do about a misfit, if that is known."""
        return ""

    def _read_header(self) -> tuple[set[str], dict[str, str]]:
        with self._open() as file:
            return set(file.keys()), file.metadata() or {}

    def _open(self):
        try:
            from safetensors import SafetensorError, safe_open
        except ImportError as error:
            raise ImportError(
                f"{self._path} needs the package safetensors: "
                "pip install 'mobilequant[safetensors]'"
            ) from error
        try:
            return safe_open(self._path, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self._path} is damaged or no safetensors file: {error}") from error


_PYTORCH_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _pytorch_name(layer, variable) -> str:
    return "gamma" if isinstance(layer, LayerScale) else _PYTORCH_NAMES[variable.name]


def _keras_layout(layer, variable, array: np.ndarray) -> np.ndarray | None:
    """The values in Keras' order of axes and float32, or `None` where the shapes do not fit."""
    if variable.name == "kernel":
        if array.ndim == 2 and isinstance(layer, keras.layers.Conv2D):
            array = array[:, :, None, None]  # a linear layer, where we have a 1×1 convolution
        order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            order = (2, 3, 0, 1)
        if order is None or len(order) != array.ndim:
            return None
        array = array.transpose(order)
    if array.shape != tuple(variable.shape):
        return None
    return array.astype("float32")


def _misshapen(key: str, array: np.ndarray, variable) -> str:
    return f"{key} (the file has {array.shape}, {variable.path} {tuple(variable.shape)})"
