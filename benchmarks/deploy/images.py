"""The sample images in two halves, and random views of one of them."""

from __future__ import annotations

import common
import keras
import numpy as np
import tensorflow as tf

from mobilequant.data import load_classification
from mobilequant.data.colour import jitter

SIZE = 224

#: A view shows so much of an image's area at least, and is so much wider than high at most.
LEAST_AREA, WIDEST = 0.2, 4 / 3


def halves(limit: int):
    """Images to distil on, images to measure on, and the labels of these.

    Args:
        limit: How many images in all. Each of 500 is of a class of its own.
    """
    data = load_classification(
        "imagenet_sample", data_dir=common.SHARED / "data", image_size=SIZE, batch_size=50
    )
    pairs = [(np.asarray(images), np.asarray(labels)) for images, labels in data.test]
    images, labels = (np.concatenate(part)[:limit] for part in zip(*pairs, strict=True))
    return images[0::2], images[1::2], labels[1::2]


def batches(images, size=25):
    """The same in parts."""
    return (images[i : i + size] for i in range(0, len(images), size))


def views(images, teacher, batch_size: int, steps: int, seed: int):
    """A `tf.data.Dataset` of batches of random views and of what the teacher says of them.

    Args:
        images: float32 array.
        teacher: Model of several outputs.
        batch_size: Views in a batch.
        steps: Batches in one pass.
        seed: Of their order and of the views.
    """
    data = tf.data.Dataset.from_tensor_slices(images)
    data = data.shuffle(len(images), seed=seed, reshuffle_each_iteration=True).repeat()
    random = tf.random.Generator.from_seed(seed)
    data = data.map(lambda image: _view(image, random)).batch(batch_size, drop_remainder=True)
    # There is a teacher to ask, so that any image will do, also two on top of one another.
    mixed = keras.layers.MixUp(alpha=1.0, seed=seed)
    data = data.map(lambda batch: mixed(batch, training=True))
    data = data.map(lambda batch: (batch, tuple(teacher(batch, training=False))))
    return data.take(steps).prefetch(1)


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
