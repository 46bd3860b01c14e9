"""`load_classification`: a data set by name, a folder of images, or the embedded digits."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from mobilequant.data import augmentation, preprocessing
from mobilequant.data.arguments import check_common, checked_size
from mobilequant.data.sources.digits import digits
from mobilequant.data.sources.finding import find
from mobilequant.data.sources.folder import folder
from mobilequant.data.sources.source import Source, Split

# Decoded images that fit into this many bytes are kept in memory after the first epoch.
CACHE_BYTES = 512 * 2**20

# How many undecoded images are mixed where not all can be held.
SHUFFLE_BUFFER = 10_000


@dataclass(frozen=True)
class ClassificationData:
    """A data set, ready for `fit` and `evaluate`.

    Each part yields batches of float32 images (batch, height, width, channels) in [−1, 1] and
    int64 labels (batch,).

    Attributes:
        name: of the data set.
        class_names: the names of labels 0, 1, ….
        image_shape: (height, width, channels).
        sizes: number of images of each part that exists.
        train: shuffled and augmented, whole batches only; `None` if there are only test images.
        validation: in fixed order; `None` unless the data set has one beside `test`, or some of
            the training images were asked for.
        test: in fixed order; `None` if there are only training images.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    sizes: dict[str, int]
    train: tf.data.Dataset | None
    validation: tf.data.Dataset | None
    test: tf.data.Dataset | None

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


def load_classification(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    image_size: int | tuple[int, int],
    batch_size: int = 32,
    channels: int = 3,
    augment: bool = True,
    mirror: bool | None = None,
    crop: float | None = None,
    validation: float = 0.0,
    seed: int = 0,
    limit: int | None = None,
) -> ClassificationData:
    """Loads images and labels as `tf.data` pipelines.

    With the same arguments every run sees the same images in the same order with the same
    random changes; each epoch has others.

    Args:
        name: `"digits"`, scikit-learn's scanned digits, which need no download; the name of a
            TensorFlow data set such as `"cifar10"`; or a folder of class folders, as it is or
            with `train` and `test` (or `val`) folders in it. A folder is taken as one where no
            data set has its name, or where it begins with `/`, `.` or `~`.
        data_dir: where TensorFlow data sets are prepared; by default TFDS's own folder. A data
            set that is not there is downloaded into it.
        image_size: side, or (height, width), of the images in pixels.
        batch_size: images a batch.
        channels: 1 (grey) or 3 (RGB), whatever the files hold.
        augment: whether training images are randomly changed: shifted by up to an eighth where
            all images have one size, else a random window; mirrored where that makes sense.
        mirror: whether to mirror; by default wherever the images are not characters.
        crop: share of the image kept in evaluation, in (0, 1]; by default all where all images
            have one size, else 0.875 as is usual for photographs.
        validation: share of the training images put aside as `validation`, in [0, 1).
        seed: for the shuffling and the augmentation.
        limit: at most so many images of each part, for quick runs.

    Returns:
        The pipelines with the class names. A data set without a split for testing gives the last
        fifth of its training images for it; one with a test split alone has `train=None`.

    Raises:
        ValueError: an argument is out of range, the name is not known, or the data set is no
            classification data set.
        RuntimeError: the data set is not there and cannot be downloaded.

    An image file that cannot be read is named in the error that `fit` or iterating raises.
    """
    size = checked_size(image_size)
    check_common(batch_size, limit, channels, validation)
    if crop is not None and not 0 < crop <= 1:
        raise ValueError(f"crop must be above 0 and at most 1, got {crop!r}")

    source = _find(name, data_dir)
    if crop is None:
        crop = 1.0 if source.image_shape else preprocessing.IMAGENET_CROP
    pipeline = _Pipeline(
        source=source,
        size=size,
        channels=channels,
        crop=crop,
        batch_size=batch_size,
        augment=augment,
        mirror=source.mirrored if mirror is None else mirror,
        seed=seed,
    )
    splits = source.parts(validation, limit)
    return ClassificationData(
        name=source.name,
        class_names=source.class_names,
        image_shape=(*size, channels),
        sizes={part: split.size for part, split in splits.items()},
        train=pipeline.training(splits["train"]) if "train" in splits else None,
        validation=pipeline.evaluation(splits["validation"]) if "validation" in splits else None,
        test=pipeline.evaluation(splits["test"]) if "test" in splits else None,
    )


@dataclass(frozen=True)
class _Pipeline:
    """The settings of one call, and the two kinds of pipeline made from them."""

    source: Source
    size: tuple[int, int]
    channels: int
    crop: float
    batch_size: int
    augment: bool
    mirror: bool
    seed: int

    def evaluation(self, split: Split) -> tf.data.Dataset:
        """Every image once, in the order of the split."""
        images = split.read(0, split.size, None)
        before, after = self._around_the_cache(split)
        images = _map_images(images, before)
        if self._fits_into_memory(split):
            images = images.cache()
        return self._batches(_map_images(images, after), whole=False)

    def training(self, split: Split) -> tf.data.Dataset:
        """Shuffled anew each epoch, and augmented if that was asked for."""
        crop_randomly = self.augment and self.source.image_shape is None
        if self._fits_into_memory(split) and not crop_randomly:
            before, after = self._around_the_cache(split)
            images = _map_images(split.read(0, split.size, None), before).cache()
            images = images.shuffle(split.size, seed=self.seed)
        else:
            # Undecoded images are shuffled: they are the smaller ones.
            images = split.read(0, split.size, self.seed)
            images = images.shuffle(min(split.size, SHUFFLE_BUFFER), seed=self.seed)
            after = self._decode if crop_randomly else lambda raw: self._fit(self._decode(raw))
        if not self.augment:
            images = _map_images(images, after)
        else:
            seeds = tf.data.Dataset.random(self.seed, rerandomize_each_iteration=True)
            change = self._crop_randomly if crop_randomly else self._shift
            images = tf.data.Dataset.zip(images, seeds).map(
                lambda example, seed: (change(after(example[0]), seed), example[1]),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        # The last images of an epoch, too few for a batch, would disturb the batch statistics;
        # the next epoch leaves others out.
        return self._batches(images, whole=split.size >= self.batch_size)

    def _around_the_cache(self, split: Split) -> tuple[Callable, Callable]:
        """What is done to an image before and after it is cached: all before, if there is room."""
        if split.size * self._pixels > CACHE_BYTES and self.source.image_shape:
            return self._decode, self._fit
        return (lambda raw: self._fit(self._decode(raw))), (lambda image: image)

    def _fits_into_memory(self, split: Split) -> bool:
        smallest = self._pixels
        if self.source.image_shape:
            smallest = min(smallest, math.prod(self.source.image_shape))
        return split.size * smallest <= CACHE_BYTES

    @property
    def _pixels(self) -> int:
        """Bytes of one image as the model takes it."""
        return math.prod((*self.size, self.channels))

    def _decode(self, raw):
        return self.source.decode(raw)

    def _fit(self, image):
        return preprocessing.fit_image(image, self.size, self.channels, self.crop)

    def _shift(self, image, seed):
        return self._flip(augmentation.shift(image, [seed, 0], self.source.fill), seed)

    def _crop_randomly(self, image, seed):
        image = preprocessing.with_channels(image, self.channels)
        return self._flip(augmentation.random_crop(image, [seed, 0], self.size), seed)

    def _flip(self, image, seed):
        return augmentation.flip(image, [seed, 1]) if self.mirror else image

    def _batches(self, images: tf.data.Dataset, whole: bool) -> tf.data.Dataset:
        # Scaled as a batch: one operation instead of many, and a quarter of the memory before.
        batches = images.batch(self.batch_size, drop_remainder=whole)
        batches = batches.map(lambda batch, labels: (preprocessing.scale(batch), labels))
        options = tf.data.Options()
        options.deterministic = True
        return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _map_images(images: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    return images.map(
        lambda image, label: (function(image), label), num_parallel_calls=tf.data.AUTOTUNE
    )


def _find(name: str | Path, data_dir: str | Path | None) -> Source:
    if str(name) == "digits":
        return digits()
    return find(
        name,
        data_dir,
        read_folder=folder,
        read_tfds=_from_tfds,
        possible='"digits", the name of a TensorFlow data set{similar}, one prepared in data_dir, '
        "or a folder that holds one folder of images for each class",
    )


def _from_tfds(name: str, data_dir: str | Path | None) -> Source:
    from mobilequant.data.sources import tfds  # imported where it is needed: it takes seconds

    return tfds.from_tfds(name, data_dir)
