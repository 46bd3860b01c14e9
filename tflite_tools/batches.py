"""Images in all the forms that Keras users have them, as batches for model and file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mobilequant.integer.graph import FrozenGraph


def batches(images, graph: FrozenGraph, batch_size: int) -> Iterator[tuple[list, object]]:
    """Yields each batch twice: as a list of arrays in the graph's order, and as Keras takes it.

    Args:
        images: One array (images along the first axis), a dict of them by the names of the
            inputs, a `tf.data.Dataset` or another iterable of batches; the elements of the last
            two may be tuples that start with the images, as `fit` takes them.
        graph: What the images are for.
        batch_size: Size of the batches that an array is cut into.

    Raises:
        ValueError: There are no images, their shape is not the model's, or they hold NaN.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    some = False
    for batch in _split(images, batch_size):
        batch = batch[0] if isinstance(batch, tuple) else batch
        arrays = _arrays(batch, graph)
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
        x = random.uniform(low, high, (count, *tensor.shape)).astype(np.float32)
        if len(tensor.shape) == 3:
            coarse = x[count // 2 :, ::8, ::8]
            patches = coarse.repeat(8, axis=1).repeat(8, axis=2)
            x[count // 2 :] = patches[:, : x.shape[1], : x.shape[2]]
        arrays.append(x)
    return arrays, arrays[0] if len(arrays) == 1 else arrays


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


def _arrays(batch, graph: FrozenGraph) -> list[np.ndarray]:
    if isinstance(batch, Mapping):
        missing = [tensor.name for tensor in graph.inputs if tensor.name not in batch]
        if missing:
            raise ValueError(
                f"The images lack the inputs {', '.join(map(repr, missing))}; they have "
                f"{', '.join(map(repr, batch))}."
            )
        parts = [batch[tensor.name] for tensor in graph.inputs]
    else:
        parts = batch if isinstance(batch, list) and len(graph.inputs) > 1 else [batch]
    if len(parts) != len(graph.inputs):
        raise ValueError(f"The model has {len(graph.inputs)} inputs, the batch {len(parts)}.")
    arrays = [np.asarray(part, np.float32) for part in parts]
    for array, tensor in zip(arrays, graph.inputs, strict=True):
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
