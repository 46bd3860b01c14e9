"""Scikit-learn's scanned digits: 1,797 images that ship inside the package, so nothing to load.

Source: E. Alpaydin and C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository.
"""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mobilequant.data.sources.source import TEST_SHARE, Source, Split


def digits() -> Source:
    """Ten classes of 8×8 grey images; a fifth of each class, always the same, is for testing."""
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int64)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=TEST_SHARE, stratify=labels, random_state=0
    )
    return Source(
        name="digits",
        class_names=tuple(str(name) for name in bunch.target_names),
        splits={
            "train": _split(train_images, train_labels),
            "test": _split(test_images, test_labels),
        },
        decode=lambda image: image,
        image_shape=(8, 8, 1),
        mirrored=False,
        fill="constant",
    )


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    def read(start, stop, seed):
        del seed  # in memory: the pipeline shuffles all of it
        return tf.data.Dataset.from_tensor_slices((images[start:stop], labels[start:stop]))

    return Split(len(labels), read)
