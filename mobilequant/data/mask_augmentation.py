"""Random changes to images with masks: scale, place, colours and mirror."""

from dataclasses import dataclass

import tensorflow as tf

from mobilequant.data import colour, windows


@dataclass(frozen=True)
class MaskAugmentation:
    """What is randomly changed in training images with masks (arXiv:1706.05587 sec. 4.1).

    The image is scaled and a random part of it, of the size of the network's input, is seen;
    beyond the image it is grey and the mask void. Determined by the seed.

    Attributes:
        scales: the least and the largest scale. A data set without a void label has no mask for
            what is beyond the image: there scales below 1 become 1.
        colours: whether to change brightness, contrast, saturation and hue.
        mirror: whether to mirror left and right.

    Raises:
        ValueError: the scales are not above 0, or in wrong order.
    """

    scales: tuple[float, float] = (0.5, 2.0)
    colours: bool = True
    mirror: bool = True

    def __post_init__(self):
        low, high = self.scales
        if not 0 < low <= high:
            raise ValueError(f"scales must be (least, largest), both above 0, got {self.scales!r}")

    def __call__(self, image, mask, seed, size: tuple[int, int], void_label: int | None) -> tuple:
        """A changed image with its mask.

        Args:
            image: uint8 tensor (height, width, channels), any size.
            mask: int32 tensor (height, width).
            seed: integer tensor (2,).
            size: (height, width) of the result in pixels.
            void_label: the index of pixels without a class, or `None`.

        Returns:
            A uint8 tensor (*size, channels) and an int32 tensor `size`.
        """
        seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 3))
        low, high = self.scales
        if void_label is None:
            low, high = max(low, 1.0), max(high, 1.0)
        window = scaled(windows.whole(image), seeds[0], (low, high))
        at = windows.view(image, window, size)
        image = windows.see_image(image, at, size)
        mask = windows.see_mask(mask, at, size, void_label)
        if self.colours:
            image = colour.jitter(image, seeds[1])
        if self.mirror:
            image, mask = mirror(image, mask, seeds[2])
        return image, mask


def scaled(window, seed, scales: tuple[float, float]):
    """A window in which the old one looks larger or smaller.

    A larger one contains the old one, a smaller one is a part of it; where, is random.

    Args:
        window: int32 tensor (4,): top, left, bottom, right.
        seed: integer tensor (2,).
        scales: least and largest.
    """
    random = tf.random.stateless_uniform((3,), seed)
    scale = scales[0] + random[0] * (scales[1] - scales[0])
    old = tf.cast(window[2:] - window[:2], tf.float32)
    sides = tf.maximum(tf.round(old / scale), 1.0)
    corner = window[:2] + tf.cast(tf.round(random[1:] * (old - sides)), tf.int32)
    return tf.concat([corner, corner + tf.cast(sides, tf.int32)], 0)


def mirror(image, mask, seed) -> tuple:
    """Mirrors image and mask left and right in half of the cases."""
    mirrors = tf.random.stateless_uniform((), seed) < 0.5
    return (
        tf.where(mirrors, tf.image.flip_left_right(image), image),
        tf.where(mirrors, mask[:, ::-1], mask),
    )
