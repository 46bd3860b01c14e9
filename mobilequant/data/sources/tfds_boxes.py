"""TFDS data sets with boxes, under their own feature names."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
import tensorflow_datasets as tfds

from mobilequant.data.sources.features import at, flattened
from mobilequant.data.sources.source import BoxSource
from mobilequant.data.sources.tfds import prepared, splits

# Names that label an object, and that mark one which does not count, where a data set is not in
# the table.
_LABELS = ("label", "type", "category", "class")
_CROWDS = ("is_crowd", "is_difficult", "is_group_of")

# So many test images are looked at for a box, before they are taken for those of a competition.
_LOOKED_AT = 64


class Paths(NamedTuple):
    """Where the features of the objects are in an example, `/` between the levels.

    Attributes:
        boxes: of all objects, or the box of the only one.
        labels: of each object, or of the image; `None` where there is one class only.
        crowd: of each object, or `None`.
        image: of the example.
        class_name: that of the only class.
    """

    boxes: str
    labels: str | None
    crowd: str | None = None
    image: str = "image"
    class_name: str | None = None


KNOWN = {
    "voc": Paths("objects/bbox", "objects/label", "objects/is_difficult"),
    "coco": Paths("objects/bbox", "objects/label", "objects/is_crowd"),
    "kitti": Paths("objects/bbox", "objects/type"),
    "open_images_v4": Paths("bobjects/bbox", "bobjects/label", "bobjects/is_group_of"),
    # The box of the head; the species, not one of 37 breeds.
    "oxford_iiit_pet": Paths("head_bbox", "species"),
    "wider_face": Paths("faces/bbox", None, "faces/invalid", class_name="face"),
}


def from_tfds(
    name: str, data_dir: str | Path | None, class_names: Sequence[str] | None
) -> BoxSource:
    """A TFDS detection data set; what is not prepared in `data_dir` is downloaded into it.

    Args:
        name: as `tfds.load` takes it, for example "voc/2012".
        data_dir: folder of prepared data sets; `None` for TFDS's own.
        class_names: other names for the classes, as many as it has.

    Raises:
        ValueError: it holds no boxes with class labels, or another number of classes.
        RuntimeError: it is not prepared and cannot be downloaded.
    """
    builder = prepared(name, data_dir)
    features = builder.info.features
    paths = find_paths(builder.name, features)
    names = (paths.class_name,)
    if paths.labels:
        names = tuple(str(n) for n in flattened(features)[paths.labels].names)
    if class_names is not None and len(class_names) != len(names):
        raise ValueError(f"{name} has {len(names)} classes, class_names has {len(class_names)}")
    image = flattened(features)[paths.image]
    shape = tuple(image.shape)
    return BoxSource(
        name=builder.name,
        class_names=names if class_names is None else tuple(class_names),
        splits=splits(
            builder,
            lambda example: (at(example, paths.image), _target(example, paths)),
            undecoded=_nested(paths.image, tfds.decode.SkipDecoding()),
            labelled=_labelled,
        ),
        decode=image.decode_example,
        image_shape=None if None in shape else shape,
    )


def find_paths(name: str, features) -> Paths:
    """Where the objects of a data set are: as the table says, else by the kinds of the features.

    Raises:
        ValueError: there are no boxes with class labels.
    """
    leaves = flattened(features)
    known = KNOWN.get(name)
    if known and known.boxes in leaves:
        return known
    images = [path for path, leaf in leaves.items() if isinstance(leaf, tfds.features.Image)]
    for path, leaf in leaves.items():
        if not isinstance(leaf, tfds.features.BBoxFeature):
            continue
        # Beside the box first, then at each level above it.
        folder = path.rpartition("/")[0]
        levels = [folder]
        while levels[-1]:
            levels.append(levels[-1].rpartition("/")[0])
        labels = _first(leaves, levels, _LABELS, tfds.features.ClassLabel)
        crowd = _first(leaves, levels[:1], _CROWDS, tfds.features.FeatureConnector)
        image = next((image for image in images if image.rpartition("/")[0] in levels), None)
        if labels and image:
            return Paths(path, labels, crowd, image)
    raise ValueError(
        f"{name} is no detection data set: an example must hold an image, boxes and their class "
        f"labels, and holds {', '.join(leaves)}"
    )


def _first(leaves: dict, levels: Sequence[str], names: Sequence[str], kind: type) -> str | None:
    for level in levels:
        for name in names:
            path = f"{level}/{name}" if level else name
            if isinstance(leaves.get(path), kind):
                return path
    return None


def _target(example, paths: Paths) -> dict:
    boxes = tf.reshape(tf.cast(at(example, paths.boxes), tf.float32), (-1, 4))
    count = tf.shape(boxes)[:1]
    labels = tf.zeros(count, tf.int32)
    if paths.labels:  # of the image where there is one box only, or boxes have no labels
        labels = tf.broadcast_to(tf.cast(at(example, paths.labels), tf.int32), count)
    target = {"boxes": boxes, "labels": labels, "file": _file(example)}
    if paths.crowd:
        target["crowd"] = tf.broadcast_to(tf.cast(at(example, paths.crowd), tf.bool), count)
    return target


def _file(example):
    names = ("image/filename", "file_name", "image/file_name", "image_id")
    return next((example[name] for name in names if name in example), tf.constant("an image"))


def _labelled(examples: tf.data.Dataset) -> bool:
    return any(tf.reduce_any(target["labels"] >= 0) for _, target in examples.take(_LOOKED_AT))


def _nested(path: str, value) -> dict:
    for name in reversed(path.split("/")):
        value = {name: value}
    return value
