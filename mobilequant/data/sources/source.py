"""What every origin of images has to offer to the pipeline."""

from collections.abc import Callable
from dataclasses import dataclass, field

import tensorflow as tf

# Where a data set has no split of its own for testing, this share of it is put aside.
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        size: number of images.
        read: from (start, stop, shuffle seed or `None`) to a `tf.data.Dataset` of (raw image,
            int64 label) of the images from start to stop, classes mixed. Without a seed the order
            is always the same; with one, files of a data set in many files are read in random
            order. The raw image is whatever `Source.decode` takes.
    """

    size: int
    read: Callable[[int, int, int | None], tf.data.Dataset]

    def part(self, start: int, stop: int) -> "Split":
        """The images from `start` to `stop`, as a split of its own."""
        return Split(stop - start, lambda a, b, seed: self.read(start + a, start + b, seed))


@dataclass(frozen=True)
class Source:
    """A labelled set of images.

    Attributes:
        name: for people.
        class_names: the names of labels 0, 1, ….
        splits: any of `"train"`, `"validation"` and `"test"`.
        decode: from a raw image to a uint8 tensor (height, width, channels).
        image_shape: (height, width, channels) where all images have the same, else `None`.
        mirrored: whether an image seen in a mirror is still of its class.
        fill: what a shifted image shows at its border, `"reflect"` or `"constant"` (black).
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split] = field(repr=False)
    decode: Callable = field(repr=False)
    image_shape: tuple[int, int, int] | None = None
    mirrored: bool = True
    fill: str = "reflect"
