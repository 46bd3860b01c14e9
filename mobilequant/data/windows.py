"""Windows: which part of an image the network sees, and where its boxes and masks go.

Cropping, zooming in and out, shifting and resizing are all one thing: a rectangle of the image,
which may reach beyond it, is mapped to the size that the network takes. So the image is resized
once, whatever was done to it, and boxes and masks follow by the same whole numbers.
"""

from typing import NamedTuple

import tensorflow as tf

from mobilequant.data import preprocessing

# What is seen beyond the image: the middle of 0 to 255, close to 0 after scaling.
GREY = 128


class View(NamedTuple):
    """Where a window of an image is seen. All are int32 tensors (4,): top, left, bottom, right.

    Attributes:
        seen: the part of the image inside the window, in pixels of the image.
        place: where that part lies in the result, in pixels of the result.
    """

    seen: tf.Tensor
    place: tf.Tensor


def whole(image):
    """The window that is the image itself.

    Args:
        image: tensor (height, width, channels).
    """
    shape = tf.shape(image)
    return tf.stack([0, 0, shape[0], shape[1]])


def view(image, window, size: tuple[int, int]) -> View:
    """Where a window of an image is seen in a result of `size`.

    Args:
        image: tensor (height, width, channels).
        window: int32 tensor (4,): top, left, bottom, right in pixels of the image; it overlaps
            the image and may reach beyond it.
        size: (height, width) of the result in pixels.
    """
    full = whole(image)
    seen = tf.concat([tf.maximum(window[:2], full[:2]), tf.minimum(window[2:], full[2:])], 0)
    corner = tf.cast(tf.tile(window[:2], [2]), tf.float32)
    scale = _sides(size) / tf.cast(tf.tile(window[2:] - window[:2], [2]), tf.float32)
    place = tf.cast(tf.round((tf.cast(seen, tf.float32) - corner) * scale), tf.int32)
    # However small the part is, it is at least one pixel of the result.
    start = tf.minimum(place[:2], tf.constant(size) - 1)
    return View(seen, tf.concat([start, tf.maximum(place[2:], start + 1)], 0))


def see_image(image, at: View, size: tuple[int, int]):
    """The image as it is seen: resized bilinearly, grey where there is no image.

    Args:
        image: uint8 tensor (height, width, channels).
        at: from `view`.
        size: (height, width) of the result in pixels.

    Returns:
        A uint8 tensor (*size, channels).
    """
    part = preprocessing.resize(_cut(image, at.seen), at.place[2:] - at.place[:2])
    return _put(part, at.place, size, GREY)


def see_mask(mask, at: View, size: tuple[int, int], void_label: int | None):
    """The mask as it is seen: the nearest pixel, void where there is no image.

    Args:
        mask: int32 tensor (height, width) of the size of the image.
        at: from `view`.
        size: (height, width) of the result in pixels.
        void_label: the index of pixels without a class; `None` where the window is known to lie
            inside the image.

    Returns:
        An int32 tensor `size`.
    """
    part = tf.image.resize(
        _cut(mask[..., tf.newaxis], at.seen), at.place[2:] - at.place[:2], method="nearest"
    )
    return _put(part, at.place, size, 0 if void_label is None else void_label)[..., 0]


def see_boxes(boxes, image, at: View, size: tuple[int, int]):
    """Boxes as shares of the sides of the result; they may reach beyond it.

    Args:
        boxes: float32 tensor (objects, 4), (ymin, xmin, ymax, xmax) as shares of the image.
        image: the image before, for its size.
        at: from `view`.
        size: (height, width) of the result in pixels.
    """
    pixels = boxes * tf.cast(tf.tile(tf.shape(image)[:2], [2]), tf.float32)
    seen, place = tf.cast(at.seen, tf.float32), tf.cast(at.place, tf.float32)
    scale = tf.tile((place[2:] - place[:2]) / (seen[2:] - seen[:2]), [2])
    return ((pixels - tf.tile(seen[:2], [2])) * scale + tf.tile(place[:2], [2])) / _sides(size)


def _sides(size: tuple[int, int]):
    return tf.constant([*size, *size], tf.float32)


def _cut(image, part):
    cut = image[part[0] : part[2], part[1] : part[3]]
    cut.set_shape((None, None, image.shape[-1]))
    return cut


def _put(part, place, size: tuple[int, int], fill: int):
    rows, columns = (place[0], size[0] - place[2]), (place[1], size[1] - place[3])
    result = tf.pad(part, [rows, columns, (0, 0)], constant_values=tf.cast(fill, part.dtype))
    result.set_shape((*size, part.shape[-1]))
    return result
