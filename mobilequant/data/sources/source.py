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
            target) of the images from start to stop, classes mixed. Without a seed the order is
            always the same; with one, files of a data set in many files are read in random
            order. The raw image is whatever `Source.decode` takes, the target what its kind of
            source says.
    """

    size: int
    read: Callable[[int, int, int | None], tf.data.Dataset]

    def part(self, start: int, stop: int) -> "Split":
        """The images from `start` to `stop`, as a split of its own."""
        return Split(stop - start, lambda a, b, seed: self.read(start + a, start + b, seed))


@dataclass(frozen=True)
class Source:
    """A labelled set of images; the target of an image is its int64 label.

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

    def parts(self, validation: float, limit: int | None) -> dict[str, Split]:
        """The splits, with a share of the training images as validation if asked for.

        Args:
            validation: that share, in [0, 1).
            limit: at most so many images of each part.

        Raises:
            ValueError: there are no training images, or none would be left.
        """
        splits = dict(self.splits)
        if validation:
            splits |= self._put_aside(validation)
        if limit is not None:
            splits = {part: split.part(0, min(limit, split.size)) for part, split in splits.items()}
        return splits

    def _put_aside(self, validation: float) -> dict[str, Split]:
        if "train" not in self.splits:
            raise ValueError(f"{self.name} has no training images to put aside for validation")
        train = self.splits["train"]
        kept = train.size - max(1, round(train.size * validation))
        if kept < 1:
            raise ValueError(f"validation={validation} leaves none of {train.size} training images")
        return {"train": train.part(0, kept), "validation": train.part(kept, train.size)}


@dataclass(frozen=True)
class BoxSource(Source):
    """Images with boxes. The target of an image is a dictionary.

    `boxes`: float32 (objects, 4), (ymin, xmin, ymax, xmax) as shares of the image's sides, as the
    files have them. `labels`: int32 (objects,), 0 to classes − 1. `crowd`, where the data set
    says it: bool (objects,), objects that evaluation neither rewards nor punishes. `file`: string,
    for messages. `size`, where the annotation says it: int32 (height, width) of the image.
    """


@dataclass(frozen=True, kw_only=True)
class MaskSource(Source):
    """Images with one class for each pixel.

    The target of an image is a dictionary. `mask`: whatever `decode_mask` takes. `file`: string,
    for messages.

    Attributes:
        decode_mask: from a raw mask to int32 class indices (height, width).
        void_label: the index of pixels that have no class, or `None`.
    """

    decode_mask: Callable = field(repr=False)
    void_label: int | None
