"""From a decoded image to what a model takes, the same in training, evaluation and on a device.

The image is cropped and resized to whole numbers from 0 to 255 first and scaled to [−1, 1] last,
so that a device which hands the network 8-bit pixels sees the very values the evaluation saw.
"""

import tensorflow as tf

# The share of the shorter side that ImageNet evaluation keeps, 224 of 256 pixels.
IMAGENET_CROP = 0.875


def preprocess(image, image_size: tuple[int, int], channels: int = 3, crop: float = 1.0):
    """Crops, resizes and scales one image.

    Args:
        image: uint8 tensor (height, width, 1, 3 or 4), any size.
        image_size: (height, width) of the result in pixels.
        channels: 1 (grey) or 3 (RGB).
        crop: share of the largest centred window of the right shape that is kept, in (0, 1].

    Returns:
        A float32 tensor (*image_size, channels) with values in [−1, 1].
    """
    return scale(fit_image(image, image_size, channels, crop))


def fit_image(image, image_size: tuple[int, int], channels: int = 3, crop: float = 1.0):
    """The centre of an image, cut to the shape of `image_size` and resized to it.

    Args:
        image: uint8 tensor (height, width, 1, 3 or 4), any size.
        image_size: (height, width) of the result in pixels.
        channels: 1 (grey) or 3 (RGB).
        crop: share of the largest centred window of the right shape that is kept, in (0, 1].

    Returns:
        A uint8 tensor (*image_size, channels).
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    target = tf.constant(image_size, tf.float32)
    # Cutting before resizing gives the same picture as after it, with fewer pixels to resize.
    window = tf.round(target * tf.reduce_min(size / target) * crop)
    window = tf.cast(tf.clip_by_value(window, 1.0, size), tf.int32)
    corner = (tf.shape(image)[:2] - window) // 2
    image = tf.image.crop_to_bounding_box(image, corner[0], corner[1], window[0], window[1])
    return resize(with_channels(image, channels), image_size)


def resize(image, image_size: tuple[int, int]):
    """Bilinear resizing, smoothed where it shrinks, back to whole numbers.

    Args:
        image: uint8 tensor (height, width, channels).
        image_size: (height, width) of the result in pixels.

    Returns:
        A uint8 tensor (*image_size, channels).
    """
    resized = tf.image.resize(image, image_size, method="bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def with_channels(image, channels: int):
    """Converts between grey and RGB; the opacity of a fourth channel is dropped.

    Args:
        image: uint8 tensor (height, width, 1, 3 or 4).
        channels: 1 or 3.

    Returns:
        A uint8 tensor (height, width, channels).
    """
    has = image.shape[-1]
    if has == 4:
        image, has = image[..., :3], 3
    if has == channels:
        return image
    return tf.image.grayscale_to_rgb(image) if channels == 3 else tf.image.rgb_to_grayscale(image)


def scale(image):
    """Pixels 0 to 255 to float32 values from −1 to 1: x / 127.5 − 1.

    Args:
        image: uint8 tensor of any shape.
    """
    return tf.cast(image, tf.float32) / 127.5 - 1.0
