"""Object detection with one stage: anchors, targets, losses, decoding and suppression.

Boxes are float32, in shares of the image, (ymin, xmin, ymax, xmax); lists of boxes are padded
with label −1 and zeros. Class ids are 0 to classes − 1; inside a detector with softmax scores
channel 0 is the background.

A detector trains with the stock loop and tells what its numbers mean:

    detector = Detector.of(model)
    model.compile("adam", loss=detector.losses())
    model.fit(dataset.map(detector.targets()))   # of (images, {"boxes", "labels"})
    boxes, scores, classes, counts = detector.detect(model(images, training=False))
    evaluator = detecting(model)  # to one tensor of detections, for COCO's metric
"""

from mobilequant.tasks.detection.anchors import AnchorSettings, anchors_per_cell, make_anchors
from mobilequant.tasks.detection.coding import SCALE_FACTORS, decode, encode
from mobilequant.tasks.detection.detecting import Detect, detecting
from mobilequant.tasks.detection.detector import Detector
from mobilequant.tasks.detection.losses import BoxLoss, FocalLoss, HardNegativeLoss
from mobilequant.tasks.detection.matching import BACKGROUND, IGNORED, iou, match
from mobilequant.tasks.detection.suppression import Detections, suppress
from mobilequant.tasks.detection.targets import Targets

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "SCALE_FACTORS",
    "AnchorSettings",
    "BoxLoss",
    "Detect",
    "Detections",
    "Detector",
    "FocalLoss",
    "HardNegativeLoss",
    "Targets",
    "anchors_per_cell",
    "decode",
    "detecting",
    "encode",
    "iou",
    "make_anchors",
    "match",
    "suppress",
]
