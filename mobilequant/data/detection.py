"""`load_detection`: images with boxes, from a data set by name or a COCO or VOC folder."""

from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf

from mobilequant.data import boxes as box_lists
from mobilequant.data import preprocessing, windows
from mobilequant.data.arguments import check_common, check_count, checked_size
from mobilequant.data.box_augmentation import BoxAugmentation
from mobilequant.data.dense import Pipeline, example_bytes
from mobilequant.data.sources import layouts
from mobilequant.data.sources.finding import find
from mobilequant.data.sources.source import BoxSource

# Bytes of one object: four coordinates, a label, a flag.
_OBJECT_BYTES = 21


@dataclass(frozen=True)
class DetectionData:
    """A data set, ready for `fit` and `evaluate`.

    Each part yields batches of float32 images (batch, height, width, channels) in [−1, 1] and a
    dictionary: `boxes` float32 (batch, max_boxes, 4), (ymin, xmin, ymax, xmax) as shares of the
    image's sides; `labels` int32 (batch, max_boxes); where the data set says it, `crowd` bool
    (batch, max_boxes): crowds (COCO) and difficult objects (VOC), which evaluation neither rewards
    nor punishes. Lists are filled up with label −1 and empty boxes.

    Attributes:
        name: of the data set.
        class_names: the names of labels 0, 1, ….
        image_shape: (height, width, channels).
        max_boxes: the length of the lists.
        sizes: number of images of each part that exists.
        train: shuffled and augmented, whole batches only, without crowds; `None` if there are
            only test images.
        validation: in fixed order; `None` unless the data set has one beside `test`, or some of
            the training images were asked for.
        test: in fixed order; `None` if there are only training images.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    max_boxes: int
    sizes: dict[str, int]
    train: tf.data.Dataset | None
    validation: tf.data.Dataset | None
    test: tf.data.Dataset | None

    @property
    def num_classes(self) -> int:
        """How many classes there are, without a background."""
        return len(self.class_names)


def load_detection(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    image_size: int | tuple[int, int],
    batch_size: int = 8,
    channels: int = 3,
    augment: bool | BoxAugmentation = True,
    max_boxes: int = 100,
    class_names: tuple[str, ...] | None = None,
    validation: float = 0.0,
    seed: int = 0,
    limit: int | None = None,
) -> DetectionData:
    """Loads images and boxes as `tf.data` pipelines.

    Images are stretched to `image_size`, as SSD does, so that boxes as shares of the sides stay
    as they are. With the same arguments every run sees the same images in the same order with the
    same random changes; each epoch has others.

    Args:
        name: the name of a TensorFlow data set such as `"voc"`, `"coco/2017"` or one prepared in
            `data_dir`; or a folder, of COCO's kind (`annotations/instances_*.json`) or VOC's
            (`JPEGImages`, `Annotations`). A folder is taken as one where no data set has its
            name, or where it begins with `/`, `.` or `~`.
        data_dir: where TensorFlow data sets are prepared; by default TFDS's own folder. A data
            set that is not there is downloaded into it.
        image_size: side, or (height, width), of the images in pixels.
        batch_size: images a batch.
        channels: 1 (grey) or 3 (RGB), whatever the files hold.
        augment: whether training images are randomly changed: SSD's changes, or those given.
        max_boxes: the length of the lists of boxes. Of an image with more objects the largest
            stay, in evaluation as well.
        class_names: the names of labels 0, 1, … where the data set does not list them. By
            default a VOC folder has VOC's twenty, or else all names found, sorted.
        validation: share of the training images put aside as `validation`, in [0, 1).
        seed: for the shuffling and the augmentation.
        limit: at most so many images of each part, for quick runs.

    Returns:
        The pipelines with the class names. A data set without a split for testing gives the last
        fifth of its training images for it; one with a test split alone has `train=None`.

    Raises:
        ValueError: an argument is out of range, the name is not known, the data set has no boxes,
            or an annotation file is wrong.
        RuntimeError: the data set is not there and cannot be downloaded.

    An image file that cannot be read, or is not of the size that its annotation says, is named in
    the error that `fit` or iterating raises.
    """
    size = checked_size(image_size)
    check_common(batch_size, limit, channels, validation)
    check_count("max_boxes", max_boxes)
    source = _find(name, data_dir, class_names)
    steps = _Steps(
        source=source,
        size=size,
        channels=channels,
        max_boxes=max_boxes,
        augmentation=BoxAugmentation() if augment is True else augment,
    )
    image_shape = (*size, channels)
    pipeline = Pipeline(
        decode=steps.decode,
        fit=steps.fit,
        change=steps.change if augment else None,
        batch_size=batch_size,
        seed=seed,
        example_bytes=example_bytes(image_shape, max_boxes * _OBJECT_BYTES),
    )
    splits = source.parts(validation, limit)
    training = replace(pipeline, decode=steps.decode_for_training)
    return DetectionData(
        name=source.name,
        class_names=source.class_names,
        image_shape=image_shape,
        max_boxes=max_boxes,
        sizes={part: split.size for part, split in splits.items()},
        train=training.training(splits["train"]) if "train" in splits else None,
        validation=pipeline.evaluation(splits["validation"]) if "validation" in splits else None,
        test=pipeline.evaluation(splits["test"]) if "test" in splits else None,
    )


@dataclass(frozen=True)
class _Steps:
    """What is done to one image and its objects."""

    source: BoxSource
    size: tuple[int, int]
    channels: int
    max_boxes: int
    augmentation: BoxAugmentation | None

    def decode(self, raw, target: dict) -> tuple:
        image = preprocessing.with_channels(self.source.decode(raw), self.channels)
        objects = {key: target[key] for key in ("boxes", "labels", "crowd") if key in target}
        if "size" in target:
            _check_size(image, target["size"], target["file"])
        return image, box_lists.inside(objects)

    def decode_for_training(self, raw, target: dict) -> tuple:
        """A crowd is no example of an object, nor is it background."""
        image, objects = self.decode(raw, target)
        if "crowd" in objects:
            objects = box_lists.keep(objects, ~objects["crowd"])
        return image, objects

    def fit(self, image, objects: dict) -> tuple:
        at = windows.view(image, windows.whole(image), self.size)
        image = windows.see_image(image, at, self.size)
        return image, box_lists.padded(objects, self.max_boxes)

    def change(self, image, objects: dict, seed) -> tuple:
        image, objects = self.augmentation(image, objects, seed, self.size)
        return image, box_lists.padded(objects, self.max_boxes)


def _check_size(image, said, file) -> None:
    size = tf.shape(image)[:2]
    sizes = tf.strings.format(
        " is an image of (height, width) {}, but its annotation is for one of {}; mend the "
        "annotation, or turn the photograph upright before it is annotated",
        (size, said),
    )
    message = tf.strings.join([file, sizes])
    tf.debugging.Assert(tf.reduce_all(size == said), [message])


def _find(name, data_dir, class_names) -> BoxSource:
    def from_tfds(name, data_dir):
        from mobilequant.data.sources import tfds_boxes  # where it is needed: it takes seconds

        return tfds_boxes.from_tfds(name, data_dir, class_names)

    return find(
        name,
        data_dir,
        read_folder=lambda root: layouts.read_boxes(root, class_names),
        read_tfds=from_tfds,
        possible="the name of a TensorFlow data set{similar}, one prepared in data_dir, or a "
        f"folder {layouts.LAYOUTS}",
    )
