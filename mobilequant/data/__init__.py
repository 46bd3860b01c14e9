"""Input pipelines: images and labels, ready for a model that takes values in [−1, 1]."""

from mobilequant.data.classification import ClassificationData, load_classification
from mobilequant.data.preprocessing import fit_image, preprocess, scale

__all__ = ["ClassificationData", "fit_image", "load_classification", "preprocess", "scale"]
