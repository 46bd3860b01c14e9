"""The sample images in two halves."""

from __future__ import annotations

import common
import numpy as np

from mobilequant.data import load_classification

SIZE = 224


def halves(limit: int):
    """Images to learn on, images to measure on, and the labels of these.

    Args:
        limit: How many images in all. Each of 500 is of a class of its own.
    """
    data = load_classification(
        "imagenet_sample", data_dir=common.SHARED / "data", image_size=SIZE, batch_size=50
    )
    pairs = [(np.asarray(images), np.asarray(labels)) for images, labels in data.test]
    images, labels = (np.concatenate(part)[:limit] for part in zip(*pairs, strict=True))
    return images[0::2], images[1::2], labels[1::2]


def batches(images, size=25):
    """The same in parts."""
    return (images[i : i + size] for i in range(0, len(images), size))
