"""Weights of PyTorch models in safetensors files, by timm's and torchvision's names."""

import contextlib
import json
import warnings
from pathlib import Path

import keras
import numpy as np

from mobilequant.layers import LayerScale
from mobilequant.models.architecture import Architecture
from mobilequant.models.weights import timm, torchvision
from mobilequant.models.weights.source import Source, describe_misfit

_IGNORED = "num_batches_tracked"


class PyTorchFile(Source):
    """A safetensors file with timm's or torchvision's names, floats of any width.

    timm's models whose names begin with "tf_" pad like TensorFlow and have its epsilon; the file
    itself does not show which they are. The name is looked for in the file's metadata, in a
    `config.json` beside it, and in its path.

    Args:
        path: of the file.
        architecture: the model's table.
        include_top: whether the model has a classifier. Without one, the file may have the rest.
        model_name: of timm's model, if known.

    Raises:
        ValueError: the file is damaged, or its names are neither timm's nor torchvision's.
        ImportError: the package `safetensors` is missing.
    """

    def __init__(
        self, path: Path, architecture: Architecture, include_top: bool, model_name: str = ""
    ):
        self._path = path
        self._architecture = architecture
        self._include_top = include_top
        keys, metadata = self._read_header()
        if timm.STEM in keys:
            self._names = {key: key for key in keys}
            self._pairs = timm.layer_names(architecture, include_top)
            like_tensorflow = self._is_like_tensorflow(model_name, metadata)
            super().__init__(
                "same" if like_tensorflow else "symmetric",
                timm.TENSORFLOW_EPSILON if like_tensorflow else timm.EPSILON,
            )
            return
        self._names = torchvision.canonical(keys)
        if torchvision.STEM not in self._names.values():
            raise ValueError(
                f"{path}: neither timm's names (with {timm.STEM}) nor torchvision's (with "
                f"{torchvision.STEM}): it begins with {', '.join(sorted(keys)[:3]) or 'nothing'}"
            )
        self._pairs = torchvision.layer_names(architecture, include_top)
        super().__init__("symmetric", torchvision.epsilon(architecture), dilate_strided=True)

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
        if self._include_top:
            return not name.startswith("other/")
        if self._names.get(timm.STEM):
            return not timm.belongs_to_top(self._architecture, name)
        return not name.startswith(("other/", "classifier."))

    def _hint(self, model: keras.Model) -> str:
        """What to do, where the classifier is what does not fit."""
        if not self._include_top:
            return ""
        if any(name.startswith("other/") for name in self._names.values()):
            return ". The file holds another head than a classifier: take include_top=False"
        prefix = dict(self._pairs)[self._architecture.classifier]
        key = next((k for k, name in self._names.items() if name == f"{prefix}.weight"), None)
        if key is None:
            return ". The file holds no classifier: take include_top=False"
        with self._open() as file:
            classes = file.get_slice(key).get_shape()[0]
        if classes == model.output_shape[-1]:
            return ""
        return (
            f". The file's classifier has {classes} classes: build with classes={classes}, and put "
            "a Dense layer of your own on model.layers[-2].output"
        )

    def _is_like_tensorflow(self, model_name: str, metadata: dict[str, str]) -> bool:
        """Whether timm's model is one of those ported from TensorFlow ("tf_…")."""
        config = self._path.with_name("config.json")
        candidates = [model_name, metadata.get("model", ""), metadata.get("architecture", "")]
        if config.is_file():
            # It may be somebody else's file of that name.
            with contextlib.suppress(ValueError, AttributeError):
                candidates.append(str(json.loads(config.read_bytes()).get("architecture", "")))
        candidates += [self._path.name, self._path.parent.name]
        named = [c for c in candidates if "mobilenet" in c]
        if not named and self._architecture.name.startswith("mobilenetv3"):
            warnings.warn(
                f"{self._path}: nothing says whether this is one of timm's tf_mobilenetv3 models "
                '(padding="same", batch_norm_epsilon=1e-3) or not ("symmetric", 1e-5); taken for '
                "the latter. Name the file after the model, or give both arguments",
                stacklevel=2,
            )
        return bool(named) and "tf_mobilenet" in named[0]

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
