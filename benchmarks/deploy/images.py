"""The sample images in two halves, and random views of one of them."""

from __future__ import annotations

import common
import numpy as np
import tensorflow as tf

from mobilequant.data import load_classification
from mobilequant.data.colour import jitter

SIZE = 224

#: A view shows so much of an image's area at least, and is so much wider than high at most.
LEAST_AREA, WIDEST = 0.3, 4 / 3


def halves(limit: int, measure: str):
    """Images to learn on, images to measure on, and the labels of these.

    Args:
        limit: How many images in all. Each of 500 is of a class of its own.
        measure: "even" or "odd", the numbers of those to measure on.
    """
    data = load_classification(
        "imagenet_sample", data_dir=common.SHARED / "data", image_size=SIZE, batch_size=50
    )
    pairs = [(np.asarray(images), np.asarray(labels)) for images, labels in data.test]
    images, labels = (np.concatenate(part)[:limit] for part in zip(*pairs, strict=True))
    first = ("even", "odd").index(measure)
    return images[1 - first :: 2], images[first::2], labels[first::2]


def batches(images, size=25):
    """The same in parts."""
    return (images[i : i + size] for i in range(0, len(images), size))


def with_views(images, count: int, seed: int):
    """The images, and so many random views of each: what learns from few images sees more.

    Args:
        images: float32 array.
        count: Views of each image.
        seed: Of the views.
    """
    random = tf.random.Generator.from_seed(seed)
    views = [_view(tf.constant(image), random).numpy() for image in images for _ in range(count)]
    return np.concatenate([images, *([np.stack(views)] if views else [])])


def _view(image, random):
    """A part of an image, at full size again, mirrored or not, in other colours."""
    area = random.uniform((), LEAST_AREA, 1.0)
    ratio = tf.exp(random.uniform((), -tf.math.log(WIDEST), tf.math.log(WIDEST)))
    size = tf.minimum(tf.sqrt(area * tf.stack([1 / ratio, ratio])), 1.0)
    corner = random.uniform((2,)) * (1 - size)
    box = tf.concat([corner, corner + size], 0)
    image = tf.image.crop_and_resize(image[None], box[None], [0], [SIZE, SIZE])[0]
    image = tf.cond(random.uniform(()) < 0.5, lambda: image, lambda: image[:, ::-1])
    pixels = tf.saturate_cast(tf.round((image + 1) * 127.5), tf.uint8)
    return tf.cast(jitter(pixels, random.make_seeds(1)[:, 0]), tf.float32) / 127.5 - 1
