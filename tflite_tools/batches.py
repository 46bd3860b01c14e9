"""Images in all the forms that Keras users have them, as batches for model and file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from mobilequant.integer.graph import FrozenGraph, Tensor


class Input(NamedTuple):
    """What images must fit.

    Attributes:
        name: Of the input.
        shape: Without the batch.
    """

    name: str
    shape: tuple[int, ...]


def batches(
    images, inputs: Sequence[Input | Tensor], batch_size: int
) -> Iterator[tuple[list, object]]:
    """Yields each batch twice: as a list of arrays in the inputs' order, and as Keras takes it.

    Args:
        images: One array (images along the first axis), a dict of them by the names of the
            inputs, a `tf.data.Dataset` or another iterable of batches; the elements of the last
            two may be tuples that start with the images, as `fit` takes them.
        inputs: Those of the model that the images are for.
        batch_size: Size of the batches that an array is cut into.

    Raises:
        ValueError: There are no images, their shape is not the model's, or they hold NaN.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    some = False
    for batch in _split(images, batch_size):
        batch = batch[0] if isinstance(batch, tuple) else batch
        arrays = _arrays(batch, inputs)
        if len(arrays[0]) == 0:
            continue
        some = True
        yield arrays, arrays[0] if len(arrays) == 1 else arrays
    if not some:
        raise ValueError("There are no images: nothing to compare.")


def random_batch(graph: FrozenGraph, count: int, seed: int = 0) -> tuple[list, object]:
    """Random images over the whole range of each input, in the two forms of `batches`.

    Half of them are noise; the others are large patches of one value, which reach deeper into
    the ranges of later layers.
    """
    random = np.random.default_rng(seed)
    arrays = []
    for tensor in graph.inputs:
        low = tensor.scale * np.float32(-128 - tensor.zero_point)
        high = tensor.scale * np.float32(127 - tensor.zero_point)
        arrays.append(random_images(random, low, high, (count, *tensor.shape)))
    return arrays, arrays[0] if len(arrays) == 1 else arrays


def random_images(
    random: np.random.Generator, low: float, high: float, shape: tuple[int, ...]
) -> np.ndarray:
    """One input's part of `random_batch`, in [low, high]; `shape` has the batch."""
    x = random.uniform(low, high, shape).astype(np.float32)
    if len(shape) == 4:
        half = len(x) // 2
        patches = x[half:, ::8, ::8].repeat(8, axis=1).repeat(8, axis=2)
        x[half:] = patches[:, : x.shape[1], : x.shape[2]]
    return x


def _split(images, batch_size: int):
    if isinstance(images, Mapping):
        images = {name: np.asarray(array) for name, array in images.items()}
        count = len(next(iter(images.values()), ()))
        for start in range(0, count, batch_size):
            yield {name: array[start : start + batch_size] for name, array in images.items()}
    elif hasattr(images, "shape"):
        images = np.asarray(images)
        if images.ndim == 0:
            raise ValueError("The images are one number, not an array of images.")
        for start in range(0, len(images), batch_size):
            yield images[start : start + batch_size]
    else:
        try:
            iterator = iter(images)
        except TypeError:
            raise ValueError(
                "images must be an array, a dict of arrays, a tf.data.Dataset or an iterable of "
                f"batches; got {type(images).__name__}."
            ) from None
        yield from iterator


def _arrays(batch, inputs: Sequence[Input | Tensor]) -> list[np.ndarray]:
    if isinstance(batch, Mapping):
        missing = [tensor.name for tensor in inputs if tensor.name not in batch]
        if missing:
            raise ValueError(
                f"The images lack the inputs {', '.join(map(repr, missing))}; they have "
                f"{', '.join(map(repr, batch))}."
            )
        parts = [batch[tensor.name] for tensor in inputs]
    else:
        parts = batch if isinstance(batch, list) and len(inputs) > 1 else [batch]
    if len(parts) != len(inputs):
        raise ValueError(f"The model has {len(inputs)} inputs, the batch {len(parts)}.")
    arrays = [np.asarray(part, np.float32) for part in parts]
    for array, tensor in zip(arrays, inputs, strict=True):
        if array.shape[1:] != tensor.shape or array.ndim != len(tensor.shape) + 1:
            raise ValueError(
                f"Input {tensor.name!r} takes batches of shape (n, "
                f"{', '.join(map(str, tensor.shape))}), got images of shape {array.shape}."
            )
        if len(array) != len(arrays[0]):
            raise ValueError("The inputs of one batch hold different numbers of images.")
        if not np.all(np.isfinite(array)):
            raise ValueError(f"The images for input {tensor.name!r} hold NaN or infinite values.")
    return arrays
