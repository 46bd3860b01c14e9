"""Loading a weights file into a model, with an error a person can act on."""

import warnings
from pathlib import Path

import keras

# In the order of preference; `.h5` is what Keras 2 wrote and keras.applications still downloads.
SUFFIXES = (".weights.h5", ".keras", ".h5")


def check_weights_path(weights: str | Path) -> Path:
    """The path of an existing file of a known kind.

    Args:
        weights: path of a `.weights.h5`, `.keras` or legacy `.h5` file.

    Raises:
        ValueError: there is no such file, or its name has another ending.
    """
    path = Path(weights)
    if path.is_file() and path.name.endswith(SUFFIXES):
        return path
    if path.is_file():
        raise ValueError(f"weights={str(path)!r} must end in {', '.join(SUFFIXES)}")
    if str(weights) == "imagenet":
        raise ValueError(
            'weights="imagenet" is not downloaded here; give the path of a weights file, or take '
            "them from keras.applications: model.set_weights(keras.applications.MobileNetV2("
            'weights="imagenet").get_weights())'
        )
    raise ValueError(f"weights={str(path)!r}: there is no such file")


def load_weights(model: keras.Model, path: Path) -> None:
    """Loads every weight of `model` from `path`.

    Args:
        model: a built model.
        path: of a file that `check_weights_path` accepted.

    Raises:
        ValueError: the file is damaged, or was written for another width, number of classes or
            number of channels.
    """
    try:
        with warnings.catch_warnings():
            # One for each layer that does not fit, before the error that says the same.
            warnings.simplefilter("ignore", UserWarning)
            model.load_weights(path)
    except Exception as error:  # Keras, h5py and zipfile each raise their own kinds
        raise ValueError(
            f"{path} does not fit the model {model.name!r}: it is damaged, or was saved with "
            "another alpha, classes, include_top or number of channels. "
            f"Keras says: {_first_lines(error)}"
        ) from error


def _first_lines(error: Exception) -> str:
    """The first two lines that hold something: Keras' summary and its first example."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or repr(error)
