"""Random changes to training images. Every function is determined by the seed it is given.

They work on uint8 images, before scaling, and take a seed of two integers as TensorFlow's
stateless operations do.
"""

import tensorflow as tf

from mobilequant.data import preprocessing

# How far `shift` moves an image, as a share of its sides: 4 pixels of 32, usual for CIFAR.
SHIFT = 1 / 8

# The share of the image's area that `random_crop` keeps at least. Small networks underfit with
# the 8 % that large ones are trained with.
LEAST_AREA = 0.25


def flip(image, seed):
    """Mirrors left and right in half of the cases.

    Args:
        image: tensor (height, width, channels).
        seed: integer tensor (2,).
    """
    return tf.image.stateless_random_flip_left_right(image, seed)


def shift(image, seed, fill: str):
    """Moves an image by up to an eighth of its sides in each direction.

    Args:
        image: tensor (height, width, channels) of static shape.
        seed: integer tensor (2,).
        fill: what appears at the border: `"reflect"` or `"constant"` (black).
    """
    height, width, _ = image.shape
    rows, columns = round(height * SHIFT), round(width * SHIFT)
    padded = tf.pad(image, [[rows, rows], [columns, columns], [0, 0]], fill.upper())
    return tf.image.stateless_random_crop(padded, image.shape, seed)


def random_crop(image, seed, image_size: tuple[int, int]):
    """A random window of random area and shape, resized (Szegedy et al. 2015, arXiv:1409.4842).

    Args:
        image: uint8 tensor (height, width, channels), any size.
        seed: integer tensor (2,).
        image_size: (height, width) of the result in pixels.

    Returns:
        A uint8 tensor (*image_size, channels).
    """
    aspect = image_size[1] / image_size[0]
    corner, window, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        area_range=(LEAST_AREA, 1.0),
        aspect_ratio_range=(aspect * 3 / 4, aspect * 4 / 3),
        use_image_if_no_bounding_boxes=True,
    )
    channels = image.shape[-1]
    image = tf.slice(image, corner, window)
    image.set_shape((None, None, channels))
    return preprocessing.resize(image, image_size)
