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
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, None],
        scores,
        max_output_size_per_class=max_per_class or max_detections,
        max_total_size=max_detections,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        clip_boxes=False,
    )
    exists = tf.range(max_detections) < found.valid_detections[:, None]
    classes = tf.where(exists, tf.cast(found.nmsed_classes, "int32"), -1)
    return Detections(found.nmsed_boxes, found.nmsed_scores, classes, found.valid_detections)
