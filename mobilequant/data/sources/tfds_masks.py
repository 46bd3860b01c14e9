"""TFDS data sets with masks, under their own feature names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from mobilequant.data.sources.features import flattened
from mobilequant.data.sources.source import MaskSource
from mobilequant.data.sources.tfds import prepared, splits

# Parts of the name of a feature that holds the mask, where a data set is not in the table.
_MASKS = ("mask", "segment", "annotation", "label")


class Masks(NamedTuple):
    """Where the mask is in an example, and what its indices mean.

    Attributes:
        mask: name of the feature.
        image: name of the feature.
        class_names: of classes 0, 1, …; `None` where the features themselves say it.
        void_label: index of pixels without a class.
        indices: from the index in the file to the class, where they differ; what is not in it is
            void.
    """

    mask: str
    image: str = "image"
    class_names: tuple[str, ...] | None = None
    void_label: int | None = None
    indices: Mapping[int, int] | None = None


_CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}

_CAMVID = "sky building pole road pavement tree sign fence car pedestrian bicyclist"

KNOWN = {
    "camvid": Masks("segmentation_mask", class_names=tuple(_CAMVID.split()), void_label=11),
    # The nineteen classes that Cityscapes evaluates.
    "cityscapes": Masks(
        "segmentation_label",
        image="image_left",
        class_names=tuple(_CITYSCAPES.values()),
        void_label=255,
        indices={index: number for number, index in enumerate(_CITYSCAPES)},
    ),
    "oxford_iiit_pet": Masks(
        "segmentation_mask",
        class_names=("pet", "background", "border"),
        indices={1: 0, 2: 1, 3: 2},
    ),
}


def from_tfds(
    name: str,
    data_dir: str | Path | None,
    class_names: Sequence[str] | None,
    void_label: int | None,
) -> MaskSource:
    """A TFDS segmentation data set; what is not prepared in `data_dir` is downloaded into it.

    Args:
        name: as `tfds.load` takes it, for example "oxford_iiit_pet".
        data_dir: folder of prepared data sets; `None` for TFDS's own.
        class_names: the names of classes 0, 1, …, where the data set does not say them.
        void_label: index of pixels without a class; by default what is known of the data set.

    Raises:
        ValueError: it holds no mask, or nothing says what the classes are.
        RuntimeError: it is not prepared and cannot be downloaded.
    """
    builder = prepared(name, data_dir)
    leaves = flattened(builder.info.features)
    masks = find_masks(builder.name, leaves)
    image, mask = leaves[masks.image], leaves[masks.mask]
    names = class_names or masks.class_names or _names(mask)
    if not names:
        raise ValueError(
            f"{name} does not say what the indices of its masks mean; give class_names=, the names "
            "of classes 0, 1, …, and void_label= if there is one"
        )
    file = next((k for k in ("file_name", "image/filename", "image_id") if k in leaves), None)

    def example(example):
        named = example[file] if file else tf.constant(f"{name}: an image")
        return example[masks.image], {"mask": example[masks.mask], "file": named}

    skip = tfds.decode.SkipDecoding()
    shape = tuple(image.shape)
    return MaskSource(
        name=builder.name,
        class_names=tuple(names),
        splits=splits(builder, example, undecoded={masks.image: skip, masks.mask: skip}),
        decode=image.decode_example,
        decode_mask=lambda raw: _decode(raw, mask, masks),
        void_label=masks.void_label if void_label is None else void_label,
        image_shape=None if None in shape else shape,
    )


def find_masks(name: str, leaves: dict) -> Masks:
    """Where the masks of a data set are: as the table says, else by kind and name.

    Raises:
        ValueError: there is no image, or no mask.
    """
    known = KNOWN.get(name)
    if known and known.mask in leaves:
        return known
    # Those inside a sequence are one mask for each object.
    images = {
        path: leaf
        for path, leaf in leaves.items()
        if isinstance(leaf, tfds.features.Image) and ("/" not in path or path.startswith("image/"))
    }
    labelled = [p for p, leaf in images.items() if isinstance(leaf, tfds.features.LabeledImage)]
    named = [p for p in images if p != "image" and any(part in p.lower() for part in _MASKS)]
    mask = next(iter(labelled + named), None)
    image = next((path for path in images if path not in (mask, *labelled, *named)), None)
    if mask is None or image is None:
        raise ValueError(
            f"{name} is no segmentation data set: an example must hold an image and a mask, and "
            f"holds {', '.join(leaves)}"
        )
    return Masks(mask, image)


def _names(mask) -> tuple[str, ...]:
    if not isinstance(mask, tfds.features.LabeledImage):
        return ()
    # `names` is None where only the number of classes was given.
    names = getattr(mask, "names", None)
    count = getattr(mask, "num_classes", None) or 0
    return tuple(names) if names else tuple(str(index) for index in range(count))


def _decode(raw, feature, masks: Masks):
    """Class indices (height, width); a grey mask stored in colour has three equal channels."""
    mask = tf.cast(feature.decode_example(raw)[..., 0], tf.int32)
    if masks.indices is None:
        return mask
    void = -1 if masks.void_label is None else masks.void_label
    table = np.full(2**16, void, np.int32)
    for index, label in masks.indices.items():
        table[index] = label
    return tf.gather(table, mask)
