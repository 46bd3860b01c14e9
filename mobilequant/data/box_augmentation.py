"""Random changes to images with boxes: SSD's zoom, crop, colours and mirror."""

from dataclasses import dataclass

import tensorflow as tf

from mobilequant.data import boxes as box_lists
from mobilequant.data import colour, windows

# A crop must overlap one of the objects by one of these (intersection over union); 0 asks for
# nothing, and above 1 stands for the whole image.
LEAST_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 2.0)

# The sides of a crop: their geometric mean as a share of the image's, and how much they differ.
CROP_SCALES = (0.1**0.5, 1.0)
CROP_ASPECTS = (0.5, 2.0)

# So many crops are drawn; where none of them is good, the image stays whole.
TRIALS = 50

# How often an image is zoomed out of, where that was asked for.
ZOOM_OUT_SHARE = 0.5


@dataclass(frozen=True)
class BoxAugmentation:
    """What is randomly changed in training images with boxes (arXiv:1512.02325 sec. 2.2, 3.6).

    A box of which the centre is cut away is dropped, the others are cut at the border; so is a
    box that is thinner than one pixel in the end. Determined by the seed.

    Attributes:
        zoom_out: half of the images are put on a grey canvas of up to so many times their sides;
            1 for never. SSD has 4, trained twice as long with it.
        crop: whether to crop; a crop overlaps one of the objects by an intersection over union of
            at least 0, 0.1, 0.3, 0.5, 0.7 or 0.9, and contains the centre of one.
        colours: whether to change brightness, contrast, saturation and hue.
        mirror: whether to mirror left and right.

    Raises:
        ValueError: `zoom_out` is below 1.
    """

    zoom_out: float = 4.0
    crop: bool = True
    colours: bool = True
    mirror: bool = True

    def __post_init__(self):
        if self.zoom_out < 1:
            raise ValueError(f"zoom_out must be at least 1, got {self.zoom_out!r}")

    def __call__(self, image, objects: dict, seed, size: tuple[int, int]) -> tuple:
        """A changed image with its boxes.

        Args:
            image: uint8 tensor (height, width, channels), any size.
            objects: boxes, labels and perhaps crowd, as in `mobilequant.data.boxes`.
            seed: integer tensor (2,).
            size: (height, width) of the result in pixels.

        Returns:
            A uint8 tensor (*size, channels) and the objects that are left.
        """
        seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 4))
        window = windows.whole(image)
        if self.zoom_out > 1:
            window = zoom_out(window, seeds[0], self.zoom_out)
        if self.crop:
            window = crop(image, window, objects["boxes"], seeds[1])
        image, objects = see(image, objects, window, size)
        if self.colours:
            image = colour.jitter(image, seeds[2])
        if self.mirror:
            image, objects = mirror(image, objects, seeds[3])
        return image, objects


def see(image, objects: dict, window, size: tuple[int, int]) -> tuple:
    """The part of an image in a window, with the boxes whose centre is in it.

    Args:
        image: uint8 tensor (height, width, channels).
        objects: its boxes, labels and what else there is.
        window: int32 tensor (4,): top, left, bottom, right in pixels of the image.
        size: (height, width) of the result in pixels.
    """
    at = windows.view(image, window, size)
    boxes = windows.see_boxes(objects["boxes"], image, at, size)
    objects = box_lists.keep({**objects, "boxes": boxes}, _centred(boxes))
    one_pixel = (1.0 / size[0], 1.0 / size[1])
    return windows.see_image(image, at, size), box_lists.inside(objects, one_pixel)


def mirror(image, objects: dict, seed) -> tuple:
    """Mirrors image and boxes left and right in half of the cases."""
    mirrors = tf.random.stateless_uniform((), seed) < 0.5
    boxes = objects["boxes"]
    boxes = tf.where(mirrors, box_lists.mirrored(boxes), boxes)
    flipped = tf.where(mirrors, tf.image.flip_left_right(image), image)
    return flipped, {**objects, "boxes": boxes}


def zoom_out(window, seed, most: float):
    """In half of the cases a window up to `most` times as high and wide, with the old one in it.

    Args:
        window: int32 tensor (4,): top, left, bottom, right.
        seed: integer tensor (2,).
        most: at least 1.
    """
    random = tf.random.stateless_uniform((4,), seed)
    sides = tf.cast(window[2:] - window[:2], tf.float32)
    scale = tf.where(random[0] < ZOOM_OUT_SHARE, 1.0 + random[1] * (most - 1.0), 1.0)
    larger = tf.round(sides * scale)
    corner = window[:2] - tf.cast(tf.round(random[2:] * (larger - sides)), tf.int32)
    return tf.concat([corner, corner + tf.cast(larger, tf.int32)], 0)


def crop(image, window, boxes, seed):
    """A random part of a window that overlaps an object by at least one of `LEAST_OVERLAPS`.

    `tf.image.sample_distorted_bounding_box` does something else: it bounds how much of an object
    is covered, so that a crop around a small object passes however little of it the object fills.

    Args:
        image: tensor (height, width, channels).
        window: int32 tensor (4,): top, left, bottom, right in pixels of the image.
        boxes: float32 tensor (objects, 4) as shares of the image's sides. Without objects any
            part of the window that shows some of the image will do.
        seed: integer tensor (2,).

    Returns:
        An int32 tensor (4,), the window itself where no crop of `TRIALS` is good.
    """
    choice, places = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 2))
    least = tf.gather(
        LEAST_OVERLAPS,
        tf.random.stateless_uniform((), choice, maxval=len(LEAST_OVERLAPS), dtype=tf.int32),
    )
    candidates = _candidates(window, places)
    pixels = tf.cast(candidates, tf.float32)
    image_size = tf.cast(tf.tile(tf.shape(image)[:2], [2]), tf.float32)
    objects = boxes * image_size

    overlaps = box_lists.intersection_over_union(pixels, objects)
    contains = _centre_inside(objects[tf.newaxis], pixels[:, tf.newaxis])
    good = tf.reduce_any(overlaps >= least, axis=1) & tf.reduce_any(contains, axis=1)
    everything = tf.constant([[0.0, 0.0, 1.0, 1.0]]) * image_size
    shows_image = box_lists.intersection_over_union(pixels, everything)[:, 0] > 0.0
    nothing_to_meet = (tf.shape(boxes)[0] == 0) & (least <= 1.0)
    good = shows_image & (good | nothing_to_meet)
    first = tf.argmax(tf.cast(good, tf.int32))
    return tf.where(tf.reduce_any(good), candidates[first], window)


def _candidates(window, seed):
    """(TRIALS, 4) parts of a window in whole pixels."""
    scales, aspects, tops, lefts = tf.unstack(tf.random.stateless_uniform((4, TRIALS), seed))
    scales = CROP_SCALES[0] + scales * (CROP_SCALES[1] - CROP_SCALES[0])
    # As many wide ones as high ones, and none that is larger than the window.
    low = tf.maximum(tf.math.log(CROP_ASPECTS[0]), 2.0 * tf.math.log(scales))
    high = tf.minimum(tf.math.log(CROP_ASPECTS[1]), -2.0 * tf.math.log(scales))
    stretch = tf.exp((low + aspects * (high - low)) / 2.0)
    shares = tf.minimum(tf.stack([scales / stretch, scales * stretch], axis=1), 1.0)

    whole = tf.cast(window[2:] - window[:2], tf.float32)
    sides = tf.maximum(tf.round(shares * whole), 1.0)
    corners = tf.round(tf.stack([tops, lefts], axis=1) * (whole - sides))
    corners = window[:2] + tf.cast(corners, tf.int32)
    return tf.concat([corners, corners + tf.cast(sides, tf.int32)], axis=1)


def _centred(boxes):
    """Which boxes have their centre in the image."""
    return _centre_inside(boxes, tf.constant([0.0, 0.0, 1.0, 1.0]))


def _centre_inside(boxes, areas):
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2.0
    return tf.reduce_all((centre >= areas[..., :2]) & (centre < areas[..., 2:]), axis=-1)
