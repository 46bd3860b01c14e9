"""Top-1 accuracy of Keras models and of `.tflite` files."""

from __future__ import annotations

import numpy as np

from mobilequant.cli.running import FileRunner, ModelRunner


def of_model(model, dataset) -> float:
    """Share of images that a Keras model classifies correctly.

    Args:
        model: Compiled or not.
        dataset: `tf.data.Dataset` of batches of images and labels.
    """
    return share(ModelRunner(model, int(dataset.cardinality())), dataset)


def of_file(path, dataset) -> float:
    """Share of images that a `.tflite` file classifies correctly, run by LiteRT.

    Args:
        path: A file with one input and one output.
        dataset: `tf.data.Dataset` of batches of float images and labels.
    """
    return share(FileRunner(path), dataset)


def share(classify, dataset) -> float:
    """Share of images of which the label has the largest score.

    Args:
        classify: From a batch of images to their scores (batch, classes).
        dataset: `tf.data.Dataset` of batches of images and labels.
    """
    right = total = 0
    for images, labels in dataset.as_numpy_iterator():
        right += int(np.count_nonzero(np.argmax(classify(images), axis=-1) == labels))
        total += len(labels)
    return right / total
