"""`load_segmentation`: images with masks, from a data set by name or a COCO or VOC folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from mobilequant.data import preprocessing, windows
from mobilequant.data.arguments import check_common, checked_size
from mobilequant.data.dense import Pipeline, example_bytes
from mobilequant.data.mask_augmentation import MaskAugmentation
from mobilequant.data.sources import layouts
from mobilequant.data.sources.finding import find
from mobilequant.data.sources.source import MaskSource


@dataclass(frozen=True)
class SegmentationData:
    """A data set, ready for `fit` and `evaluate`.

    Each part yields batches of float32 images (batch, height, width, channels) in [−1, 1] and
    int32 masks (batch, height, width) of class indices.

    Attributes:
        name: of the data set.
        class_names: the names of classes 0, 1, ….
        void_label: the index of pixels that have no class, or `None` where all have one.
        image_shape: (height, width, channels).
        sizes: number of images of each part that exists.
        train: shuffled and augmented, whole batches only; `None` if there are only test images.
        validation: in fixed order; `None` unless the data set has one beside `test`, or some of
            the training images were asked for.
        test: in fixed order; `None` if there are only training images.
    """

    name: str
    class_names: tuple[str, ...]
    void_label: int | None
    image_shape: tuple[int, int, int]
    sizes: dict[str, int]
    train: tf.data.Dataset | None
    validation: tf.data.Dataset | None
    test: tf.data.Dataset | None

    @property
    def num_classes(self) -> int:
        """How many classes there are, without void."""
        return len(self.class_names)


def load_segmentation(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    image_size: int | tuple[int, int],
    batch_size: int = 8,
    channels: int = 3,
    augment: bool | MaskAugmentation = True,
    class_names: Sequence[str] | None = None,
    void_label: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    limit: int | None = None,
) -> SegmentationData:
    """Loads images and masks as `tf.data` pipelines.

    In evaluation images and masks are stretched to `image_size`. With the same arguments every
    run sees the same images in the same order with the same random changes; each epoch has
    others.

    Args:
        name: the name of a TensorFlow data set such as `"oxford_iiit_pet"` or one prepared in
            `data_dir`; or a folder, of VOC's kind (`JPEGImages`, `SegmentationClass`) or COCO's
            (`annotations/instances_*.json`, whose polygons become masks: background 0, then the
            categories; this needs pycocotools). A folder is taken as one where no data set has
            its name, or where it begins with `/`, `.` or `~`.
        data_dir: where TensorFlow data sets are prepared; by default TFDS's own folder. A data
            set that is not there is downloaded into it.
        image_size: side, or (height, width), of the images and masks in pixels.
        batch_size: images a batch.
        channels: 1 (grey) or 3 (RGB), whatever the files hold.
        augment: whether training images are randomly changed: scaled by 0.5 to 2, cut, mirrored
            and recoloured, or as the settings given say.
        class_names: the names of classes 0, 1, …, where the data set does not say them.
        void_label: the index of pixels without a class; by default what is known of the data set:
            255 in VOC and COCO, 11 in CamVid, none in Oxford's pets.
        validation: share of the training images put aside as `validation`, in [0, 1).
        seed: for the shuffling and the augmentation.
        limit: at most so many images of each part, for quick runs.

    Returns:
        The pipelines with the class names. A data set without a split for testing gives the last
        fifth of its training images for it; one with a test split alone has `train=None`.

    Raises:
        ValueError: an argument is out of range, the name is not known, the data set has no masks,
            or nothing says what their indices mean.
        RuntimeError: the data set is not there and cannot be downloaded.
        ImportError: pycocotools is needed and missing.

    A file that cannot be read, a mask of another size than its image, and an index that is no
    class are named in the error that `fit` or iterating raises.
    """
    size = checked_size(image_size)
    check_common(batch_size, limit, channels, validation)
    source = _find(name, data_dir, class_names, void_label)
    steps = _Steps(
        source=source,
        size=size,
        channels=channels,
        augmentation=MaskAugmentation() if augment is True else augment,
    )
    image_shape = (*size, channels)
    pipeline = Pipeline(
        decode=steps.decode,
        fit=steps.fit,
        change=steps.change if augment else None,
        batch_size=batch_size,
        seed=seed,
        example_bytes=example_bytes(image_shape, 4 * size[0] * size[1]),
    )
    splits = source.parts(validation, limit)
    return SegmentationData(
        name=source.name,
        class_names=source.class_names,
        void_label=source.void_label,
        image_shape=image_shape,
        sizes={part: split.size for part, split in splits.items()},
        train=pipeline.training(splits["train"]) if "train" in splits else None,
        validation=pipeline.evaluation(splits["validation"]) if "validation" in splits else None,
        test=pipeline.evaluation(splits["test"]) if "test" in splits else None,
    )


@dataclass(frozen=True)
class _Steps:
    """What is done to one image and its mask."""

    source: MaskSource
    size: tuple[int, int]
    channels: int
    augmentation: MaskAugmentation | None

    def decode(self, raw, target: dict) -> tuple:
        image = preprocessing.with_channels(self.source.decode(raw), self.channels)
        mask = self.source.decode_mask(target["mask"])
        self._check(image, mask, target["file"])
        return image, mask

    def fit(self, image, mask) -> tuple:
        at = windows.view(image, windows.whole(image), self.size)
        return windows.see_image(image, at, self.size), windows.see_mask(mask, at, self.size, None)

    def change(self, image, mask, seed) -> tuple:
        return self.augmentation(image, mask, seed, self.size, self.source.void_label)

    def _check(self, image, mask, file) -> None:
        sizes = tf.shape(image)[:2], tf.shape(mask)
        message = tf.strings.format(
            ": the image is of (height, width) {}, its mask of {}; they must be equal", sizes
        )
        message = tf.strings.join([file, message])
        tf.debugging.Assert(tf.reduce_all(sizes[0] == sizes[1]), [message])
        classes, void = len(self.source.class_names), self.source.void_label
        wrong = (mask < 0) | (mask >= classes)
        if void is not None:
            wrong &= mask != void
        without = "no void label" if void is None else f"the void label {void}"
        message = tf.strings.format(
            f": the mask holds index {{}}, but there are {classes} classes and {without}; give "
            "class_names= and void_label=, or mend the mask",
            tf.reduce_max(tf.where(wrong, mask, -1)),
        )
        message = tf.strings.join([file, message])
        tf.debugging.Assert(~tf.reduce_any(wrong), [message])


def _find(name, data_dir, class_names, void_label) -> MaskSource:
    def from_tfds(name, data_dir):
        from mobilequant.data.sources import tfds_masks  # where it is needed: it takes seconds

        return tfds_masks.from_tfds(name, data_dir, class_names, void_label)

    return find(
        name,
        data_dir,
        read_folder=lambda root: layouts.read_masks(root, class_names, void_label),
        read_tfds=from_tfds,
        possible="the name of a TensorFlow data set{similar}, one prepared in data_dir, or a "
        f"folder {layouts.LAYOUTS}",
    )
