"""Input pipelines: images with labels, boxes or masks, for models that take values in [−1, 1]."""

from mobilequant.data.box_augmentation import BoxAugmentation
from mobilequant.data.classification import ClassificationData, load_classification
from mobilequant.data.detection import DetectionData, load_detection
from mobilequant.data.mask_augmentation import MaskAugmentation
from mobilequant.data.preprocessing import fit_image, preprocess, scale
from mobilequant.data.segmentation import SegmentationData, load_segmentation

__all__ = [
    "BoxAugmentation",
    "ClassificationData",
    "DetectionData",
    "MaskAugmentation",
    "SegmentationData",
    "fit_image",
    "load_classification",
    "load_detection",
    "load_segmentation",
    "preprocess",
    "scale",
]
