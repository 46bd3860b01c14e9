"""Loads what TFMOT's users save."""

from __future__ import annotations

import os
from pathlib import Path


def load(path):
    """The tf_keras model that was saved at `path`.

    Args:
        path: A `.h5` file, or a SavedModel folder.

    Raises:
        ImportError: TFMOT or tf_keras is missing.
        ValueError: There is no such file, or no TFMOT model in it.
    """
    if not Path(path).exists():
        raise ValueError(f"{path}: no such file or folder.")
    try:
        tf_keras, tfmot = libraries()
    except ImportError as error:
        raise ImportError(
            f"{path}: loading a TFMOT model needs tensorflow-model-optimization and tf_keras: "
            f'pip install "mobilequant[tfmot]" ({error})'
        ) from error
    try:
        with tfmot.quantization.keras.quantize_scope():
            return tf_keras.models.load_model(path, compile=False)
    except Exception as error:  # tf_keras', h5py's and TensorFlow's own kinds
        hint = (
            "TFMOT's models come back from .h5 files and SavedModel folders, not from .keras: save "
            "it as one of these."
            if Path(path).suffix == ".keras"
            else "If it has objects of your own, load it under tf_keras.utils.custom_object_scope "
            "and give the model."
        )
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(f"{path}: tf_keras cannot load it: {reason}. {hint}") from error


def libraries():
    """Imports tf_keras and TFMOT, both beside Keras 3.

    TFMOT's import sets TF_USE_LEGACY_KERAS, which makes `tf.keras` tf_keras where nobody has used
    `tf.keras` yet; here it stays what it was, and TFMOT takes the package tf_keras.

    Returns:
        The two modules.
    """
    import tensorflow as tf

    former = os.environ.get("TF_USE_LEGACY_KERAS")
    tf.keras.__name__  # noqa: B018 (`tf.keras` is loaded when it is first looked at)
    try:
        import tensorflow_model_optimization as tfmot
        import tf_keras
    finally:
        if former is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)
    return tf_keras, tfmot
