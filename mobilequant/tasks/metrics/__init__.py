"""Metrics of segmentation and detection, for `compile` and for results of `.tflite` files."""

from mobilequant.tasks.metrics.coco import CocoResult, coco_map
from mobilequant.tasks.metrics.detection import (
    CocoMeanAveragePrecision,
    no_loss,
    pack_detections,
    pack_objects,
)
from mobilequant.tasks.metrics.segmentation import MeanIoU, mean_iou

__all__ = [
    "CocoMeanAveragePrecision",
    "CocoResult",
    "MeanIoU",
    "coco_map",
    "mean_iou",
    "no_loss",
    "pack_detections",
    "pack_objects",
]
