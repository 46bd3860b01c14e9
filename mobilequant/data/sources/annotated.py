"""What COCO and VOC folders share: lists of annotated images, and the parts they fall into."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf
from PIL import Image

from mobilequant.data.sources.source import TEST_SHARE, Split

# How the names of parts begin: train2017, val, valid, validation, test.
_PARTS = {"train": "train", "val": "validation", "test": "test"}

Item = TypeVar("Item")


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file and the objects in it.

    Attributes:
        file: path of the image.
        size: (height, width) that the annotation says.
        boxes: float32 (objects, 4), (ymin, xmin, ymax, xmax) as shares of the image's sides.
        labels: int32 (objects,).
        crowd: bool (objects,).
    """

    file: str
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


def part_of(name: str) -> str | None:
    """`"train"`, `"validation"` or `"test"`, as the name of a part begins; `None` for others."""
    return next((part for start, part in _PARTS.items() if name.lower().startswith(start)), None)


def parts(found: dict[str, Sequence[Item]]) -> dict[str, list[Item]]:
    """The parts that are used, each mixed and always in the same order.

    As for TensorFlow's data sets: without `"test"`, `"validation"` is for testing; if there is
    `"train"` alone, a fifth of it is. Which images that are depends on their names alone.

    Args:
        found: items of the parts; an item is, or has, a `file`.
    """
    has = {part: sorted(items, key=_hash) for part, items in found.items() if items}
    if "test" not in has and "validation" in has:
        has["test"] = has.pop("validation")
    if list(has) == ["train"] and len(has["train"]) > 1:
        whole = has["train"]
        aside = max(1, round(len(whole) * TEST_SHARE))
        has = {"train": whole[aside:], "test": whole[:aside]}
    return has


def box_split(items: Sequence[AnnotatedImage]) -> Split:
    """A part whose examples are (path, target of a `BoxSource`)."""
    files = [item.file for item in items]
    sizes = np.array([item.size for item in items], np.int32)
    ends = np.cumsum([0] + [len(item.boxes) for item in items])
    boxes = np.concatenate([item.boxes for item in items]).astype(np.float32).reshape(-1, 4)
    labels = np.concatenate([item.labels for item in items]).astype(np.int32)
    crowd = np.concatenate([item.crowd for item in items]).astype(bool)

    def read(start, stop, seed):
        del seed  # one file an image: the pipeline's own shuffling does it

        def example(number):
            own = slice(tf.gather(ends, number), tf.gather(ends, number + 1))
            file = tf.gather(files, number)
            return file, {
                "boxes": tf.constant(boxes)[own],
                "labels": tf.constant(labels)[own],
                "crowd": tf.constant(crowd)[own],
                "file": file,
                "size": tf.gather(sizes, number),
            }

        return tf.data.Dataset.range(start, stop).map(example)

    return Split(len(items), read)


def size_of(file: Path) -> tuple[int, int]:
    """(height, width) in the header of an image file, for annotations that do not say it.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except Exception as error:  # Pillow raises many kinds
        raise ValueError(f"{file} is no image that can be read: {error}") from error


def _hash(item) -> str:
    name = Path(getattr(item, "file", item)).name
    return hashlib.sha256(name.encode()).hexdigest()
