"""Weights that Keras wrote: `.weights.h5`, `.keras`, and `.h5` of older versions."""

import io
import re
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import keras

from mobilequant.models.architecture import Architecture
from mobilequant.models.weights.source import Source, describe_misfit


class KerasFile(Source):
    """A file that our models or `keras.applications` saved; both have the same layers.

    Args:
        path: of the file.
        architecture: the model's table.
        include_top: whether the model has a classifier. Without one, the file may have more.
    """

    def __init__(self, path: Path, architecture: Architecture, include_top: bool):
        super().__init__(padding="same", batch_norm_epsilon=architecture.batch_norm_epsilon)
        self._path = path
        self._include_top = include_top

    def load(self, model: keras.Model) -> None:
        try:
            misfit = self._misfit(model)
            if misfit is None:
                with warnings.catch_warnings():
                    # One for each layer that does not fit, before the error that says the same.
                    warnings.simplefilter("ignore", UserWarning)
                    model.load_weights(self._path)
        except Exception as error:  # Keras, h5py and zipfile each raise their own kinds
            misfit = f"Keras says: {_first_lines(error)}"
            raise ValueError(self._message(model, misfit)) from error
        if misfit:
            raise ValueError(self._message(model, misfit))

    def _message(self, model: keras.Model, misfit: str) -> str:
        return (
            f"{self._path} does not fit the model {model.name!r}: it is damaged, or was saved with "
            f"another alpha, classes, include_top or number of channels. {misfit}"
        )

    def _misfit(self, model: keras.Model) -> str | None:
        """What the file lacks, has too much, or has in another shape; `None` if nothing.

        Files of older versions are in the order of their layers, not by name; Keras itself
        compares that order.
        """
        if self._path.name.endswith(".keras"):
            with zipfile.ZipFile(self._path) as archive, archive.open("model.weights.h5") as file:
                found = _shapes(io.BytesIO(file.read()))
        elif self._path.name.endswith(".weights.h5"):
            found = _shapes(self._path)
        else:
            return None
        wanted = _wanted(model)
        if not any(key in found for key in wanted):
            return None  # another layout, such as an old file of the same ending: left to Keras
        misshapen = [
            f"{variable.path} ({key} has {found[key]}, the model {tuple(variable.shape)})"
            for key, variable in wanted.items()
            if key in found and found[key] != tuple(variable.shape)
        ]
        missing = [f"{v.path} ({key})" for key, v in wanted.items() if key not in found]
        extra = [key for key in found if key not in wanted] if self._include_top else []
        return describe_misfit(missing, extra, misshapen)


def _shapes(file) -> dict[str, tuple[int, ...]]:
    """The shapes of all layers' variables in an HDF5 file, by key."""
    shapes = {}

    def note(key, item):
        if isinstance(item, h5py.Dataset) and re.fullmatch(r"layers/[^/]+/vars/\d+", key):
            shapes[key] = item.shape

    with h5py.File(file) as weights:
        weights.visititems(note)
    return shapes


def _wanted(model: keras.Model) -> dict:
    """The variables of `model` by the keys under which Keras saves them.

    Layers are named there by their class, in snake case, and counted.
    """
    variables, counts = {}, Counter()
    for layer in model.layers:
        kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", type(layer).__name__).lower()
        name = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        for index, variable in enumerate(layer.weights):
            variables[f"layers/{name}/vars/{index}"] = variable
    return variables


def _first_lines(error: Exception) -> str:
    """The first two lines that hold something: Keras' summary and its first example."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or repr(error)
