"""Non-maximum suppression: of many boxes around one object the best."""

from __future__ import annotations

from typing import NamedTuple

from mobilequant.lazy import LazyModule

tf = LazyModule("tensorflow")


class Detections(NamedTuple):
    """What was found, the highest scores first.

    Attributes:
        boxes: (batch, detections, 4) float32, (ymin, xmin, ymax, xmax) in shares of the image;
            zeros behind the last one.
        scores: (batch, detections) float32, in [0, 1].
        classes: (batch, detections) int32, 0 to classes − 1; −1 behind the last one.
        counts: (batch,) int32, how many of them there are.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    classes: tf.Tensor
    counts: tf.Tensor


def suppress(
    boxes,
    scores,
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    max_per_class: int | None = None,
) -> Detections:
    """Of each class the boxes of highest score that overlap no better one of that class.

    Of equal scores, which integers give often, that of the first class and then of the first
    anchor is the better one, as in LiteRT's TFLite_Detection_PostProcess.

    Args:
        boxes: (batch, anchors, 4), (ymin, xmin, ymax, xmax) in shares of the image; decoded.
        scores: (batch, anchors, classes), in [0, 1], without the background.
        score_threshold: scores that are not above it are dropped. For mean average precision low
            ones belong to the curve; for showing them to people 0.5 is usual.
        iou_threshold: a box that overlaps a better one by more is dropped.
        max_detections: of an image.
        max_per_class: of a class and image; by default `max_detections`.

    Raises:
        ValueError: the shapes do not fit.
    """
    boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)
    if boxes.shape.rank != 3 or scores.shape.rank != 3 or boxes.shape[1] != scores.shape[1]:
        raise ValueError(
            "suppress takes boxes of shape (batch, anchors, 4) and scores of shape (batch, "
            f"anchors, classes), got {boxes.shape} and {scores.shape}"
        )
    ranks = _ranks(scores)
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, None],
        tf.where(scores > score_threshold, ranks, 0.0),
        max_output_size_per_class=max_per_class or max_detections,
        max_total_size=max_detections,
        iou_threshold=iou_threshold,
        score_threshold=0.5,
        clip_boxes=False,
    )
    exists = tf.range(max_detections) < found.valid_detections[:, None]
    classes = tf.where(exists, tf.cast(found.nmsed_classes, "int32"), -1)
    descending = tf.sort(tf.reshape(scores, (tf.shape(scores)[0], -1)), direction="DESCENDING")
    places = tf.shape(descending)[1] - tf.cast(found.nmsed_scores, "int32")
    places = tf.where(exists, places, 0)
    kept = tf.where(exists, tf.gather(descending, places, batch_dims=1), 0.0)
    return Detections(found.nmsed_boxes, kept, classes, found.valid_detections)


def _ranks(scores):
    """Of each image's scores, from their number for the best down to 1; no two are the same.

    TensorFlow's suppression takes equal scores in any order. Ranks are exact in float32 for up to
    16 million scores an image.
    """
    batch, anchors, classes = tf.unstack(tf.shape(scores))
    by_class = tf.reshape(tf.transpose(scores, (0, 2, 1)), (batch, -1))
    order = tf.argsort(by_class, direction="DESCENDING", stable=True)
    places = tf.argsort(order, stable=True)  # the inverse permutation
    ranks = tf.cast(anchors * classes - places, "float32")
    return tf.transpose(tf.reshape(ranks, (batch, classes, anchors)), (0, 2, 1))
