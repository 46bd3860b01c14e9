"""Data as `calibrate` and `sensitivity` take it: batches of what a model takes, checked."""

from __future__ import annotations

import keras
import numpy as np


def in_batches(data, batch_size):
    """Batches of an array, of a `tf.data.Dataset` or of any iterable of them.

    Returns:
        An iterable of batches, and their number where it is known, else None.

    Raises:
        ValueError: It is none of these, or an empty array.
    """
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        array = np.asarray(data)
        if not array.size:
            raise ValueError(
                f"The data is empty (an array of shape {array.shape}); give at least one image."
            )
        count = -(-len(array) // batch_size)
        return (array[i * batch_size : (i + 1) * batch_size] for i in range(count)), count
    if hasattr(data, "cardinality"):
        count = int(data.cardinality())
        return data, count if count >= 0 else None
    if not hasattr(data, "__iter__"):
        raise ValueError(
            "The data must be an array, a tf.data.Dataset or an iterable of batches, not "
            f"{type(data).__name__}."
        )
    return data, len(data) if hasattr(data, "__len__") else None


def inputs_of(batch):
    """What the model takes of a batch that may be a tuple `(inputs, labels, …)`."""
    return batch[0] if isinstance(batch, tuple) else batch


def check_batch(qmodel, inputs, index):
    """Raises ValueError where a batch is not what the model takes, or not finite."""
    flat = keras.tree.flatten(inputs)
    expected = keras.tree.flatten(qmodel.inputs)
    if len(flat) != len(expected):
        raise ValueError(
            f"Batch {index} of the data has {len(flat)} inputs, the model takes {len(expected)}."
        )
    for array, tensor in zip(flat, expected, strict=True):
        array = keras.ops.convert_to_numpy(array)
        shape = tuple(array.shape)
        fits = len(shape) == len(tensor.shape) and all(
            want in (None, have) for want, have in zip(tensor.shape[1:], shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"Batch {index} of the data has shape {shape}, the model's input "
                f"{tensor._keras_history.operation.name!r} takes {tuple(tensor.shape)}."
            )
        if not shape[0]:
            raise ValueError(f"Batch {index} of the data holds no images.")
        if not np.all(np.isfinite(array.astype("float32"))):
            raise ValueError(f"Batch {index} of the data holds NaN or infinite values.")
