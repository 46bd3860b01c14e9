"""What a detector is to predict for an image: objects matched to anchors, as numbers."""

from mobilequant.lazy import LazyModule
from mobilequant.tasks.detection.coding import SCALE_FACTORS, encode
from mobilequant.tasks.detection.matching import IGNORED, match

tf = LazyModule("tensorflow")


class Targets:
    """Turns lists of objects into what the losses take; to be mapped over a `tf.data` pipeline.

        dataset.map(Targets(anchors), num_parallel_calls=tf.data.AUTOTUNE)

    Args:
        anchors: (anchors, 4) float32.
        scale_factors: of the box codes.
        matching: options of `match`: `positive_iou`, `negative_iou`, `force`, `crowd_share`.
    """

    def __init__(self, anchors, *, scale_factors=SCALE_FACTORS, **matching):
        self._anchors = tf.constant(anchors, "float32")
        self._scale_factors = tuple(scale_factors)
        self._matching = matching

    def __call__(self, images, objects):
        """The images, and their targets.

        Args:
            images: handed on as they are.
            objects: {"boxes": (batch, N, 4) float32, "labels": (batch, N) integers, −1 for
                padding}, and "crowd" (batch, N) bool if there is any. Without the batch in all of
                them, so is the result.

        Returns:
            images, {"boxes": (batch, anchors, 5) float32: the codes, and 1 where the anchor has
            an object, else 0; "scores": (batch, anchors) int32: label + 1, 0 for the background,
            −1 where the anchor is ignored}.

        Raises:
            ValueError: the objects lack boxes or labels, or their shapes do not fit.
        """
        boxes, labels, crowd = _checked(objects)
        if boxes.shape.rank == 2:
            crowd = None if crowd is None else crowd[None]
            targets = self._of_batch(boxes[None], labels[None], crowd)
            return images, {name: target[0] for name, target in targets.items()}
        return images, self._of_batch(boxes, labels, crowd)

    def _of_batch(self, boxes, labels, crowd):
        matches = match(boxes, labels, self._anchors, crowd=crowd, **self._matching)
        matched = matches >= 0
        mine = tf.where(matched, matches, 0)
        # An image may have no objects at all; a row of padding is there to gather from.
        boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
        labels = tf.pad(labels, [[0, 0], [0, 1]], constant_values=-1)
        codes = encode(tf.gather(boxes, mine, batch_dims=1), self._anchors, self._scale_factors)
        codes = tf.where(matched[..., None], codes, 0.0)
        classes = tf.where(matched, tf.gather(labels, mine, batch_dims=1) + 1, 0)
        classes = tf.where(matches == IGNORED, -1, classes)
        flags = tf.cast(matched, "float32")[..., None]
        return {"boxes": tf.concat([codes, flags], axis=-1), "scores": classes}


def _checked(objects):
    missing = {"boxes", "labels"} - set(objects)
    if missing:
        raise ValueError(
            f"detection targets need {' and '.join(map(repr, sorted(missing)))}; the data set "
            f"gives {', '.join(map(repr, objects)) or 'nothing'}"
        )
    boxes = tf.cast(objects["boxes"], "float32")
    labels = tf.cast(objects["labels"], "int32")
    crowd = objects.get("crowd")
    if (
        boxes.shape.rank not in (2, 3)
        or boxes.shape[-1] != 4
        or labels.shape.rank != boxes.shape.rank - 1
    ):
        raise ValueError(
            "detection targets take boxes of shape (batch, N, 4) and labels of shape (batch, N), "
            f"got {boxes.shape} and {labels.shape}"
        )
    return boxes, labels, None if crowd is None else tf.cast(crowd, "bool")
