"""Lists of boxes: cut to the image, mirrored, padded to one length.

A box is (ymin, xmin, ymax, xmax) as shares of the image's sides; the objects of an image are a
dictionary of `boxes` (objects, 4), `labels` (objects,) and, where the data set says it, `crowd`
(objects,).
"""

import tensorflow as tf

# What fills a list up: the label of no class, a box without area, no crowd.
NO_LABEL = -1


def inside(objects: dict, least_side=(0.0, 0.0)) -> dict:
    """Cuts boxes at the border of the image; those of which nothing is left are dropped.

    So are those that never were boxes: a corner that is no number, or corners in wrong order.

    Args:
        objects: boxes, labels and what else there is for each object.
        least_side: (height, width) below which a box is dropped, as shares of the image's sides.
    """
    boxes = tf.clip_by_value(objects["boxes"], 0.0, 1.0)
    sides = boxes[:, 2:] - boxes[:, :2]
    # A comparison with no number is false: such boxes go as well.
    good = tf.reduce_all((sides > 0.0) & (sides >= tf.constant(least_side, tf.float32)), axis=1)
    return keep({**objects, "boxes": boxes}, good)


def keep(objects: dict, chosen) -> dict:
    """Those of the objects for which the bool tensor (objects,) is true."""
    return {name: tf.boolean_mask(values, chosen) for name, values in objects.items()}


def area(boxes):
    """Shares of the image that boxes (…, 4) cover."""
    return tf.reduce_prod(tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)


def intersection_over_union(boxes, others):
    """(boxes, others) tensor of the areas that two boxes share, over what they cover together.

    Args:
        boxes: float32 tensor (boxes, 4).
        others: float32 tensor (others, 4).
    """
    shared = tf.concat(
        [
            tf.maximum(boxes[:, tf.newaxis, :2], others[tf.newaxis, :, :2]),
            tf.minimum(boxes[:, tf.newaxis, 2:], others[tf.newaxis, :, 2:]),
        ],
        axis=-1,
    )
    together = area(boxes)[:, tf.newaxis] + area(others)[tf.newaxis] - area(shared)
    return tf.math.divide_no_nan(area(shared), together)


def mirrored(boxes):
    """Boxes (objects, 4) in an image that is mirrored left and right."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)


def padded(objects: dict, length: int) -> dict:
    """Exactly `length` objects: filled up with label −1 and empty boxes.

    Where there are more, the largest stay, in their order; crowds go first.

    Args:
        objects: boxes, labels and perhaps crowd.
        length: of the result.
    """
    size = area(objects["boxes"])
    if "crowd" in objects:
        size = tf.where(objects["crowd"], size - 1.0, size)
    order = tf.argsort(size, direction="DESCENDING", stable=True)[:length]
    chosen = tf.sort(order)
    missing = length - tf.shape(chosen)[0]
    fills = {"boxes": 0.0, "labels": NO_LABEL, "crowd": False}
    result = {}
    for name, values in objects.items():
        kept = tf.gather(values, chosen)
        paddings = [(0, missing)] + [(0, 0)] * (values.shape.rank - 1)
        fill = tf.constant(fills[name], values.dtype)
        if values.dtype == tf.bool:  # tf.pad takes numbers alone
            whole = tf.pad(tf.cast(kept, tf.uint8), paddings) > 0
        else:
            whole = tf.pad(kept, paddings, constant_values=fill)
        result[name] = tf.ensure_shape(whole, (length, *values.shape[1:]))
    return result
