"""Weights of PyTorch models in safetensors files, by timm's and torchvision's names."""

import contextlib
import json
import warnings
from pathlib import Path

import keras

from mobilequant.models.architecture import Architecture
from mobilequant.models.weights import timm, torchvision
from mobilequant.models.weights.safetensors_file import SafetensorsFile


class PyTorchFile(SafetensorsFile):
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
        super().__init__(path)
        self._architecture = architecture
        self._include_top = include_top
        keys, metadata = self._read_header()
        if timm.STEM in keys:
            self._names = {key: key for key in keys}
            self._pairs = timm.layer_names(architecture, include_top)
            like_tensorflow = self._is_like_tensorflow(model_name, metadata)
            self.padding = "same" if like_tensorflow else "symmetric"
            self.batch_norm_epsilon = timm.TENSORFLOW_EPSILON if like_tensorflow else timm.EPSILON
            return
        self._names = torchvision.canonical(keys)
        if torchvision.STEM not in self._names.values():
            raise ValueError(
                f"{path}: neither timm's names (with {timm.STEM}) nor torchvision's (with "
                f"{torchvision.STEM}): it begins with {', '.join(sorted(keys)[:3]) or 'nothing'}"
            )
        self._pairs = torchvision.layer_names(architecture, include_top)
        self.padding = "symmetric"
        self.batch_norm_epsilon = torchvision.epsilon(architecture)
        self.dilate_strided = True

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
