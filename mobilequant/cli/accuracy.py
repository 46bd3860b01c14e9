"""Top-1 accuracy of Keras models and of `.tflite` files."""

from __future__ import annotations

import numpy as np


def of_model(model, dataset) -> float:
    """Share of images that a compiled or uncompiled Keras model classifies correctly."""
    return _share(lambda images: model.predict_on_batch(images), dataset)


def of_file(path, dataset) -> float:
    """Share of images that a `.tflite` file classifies correctly, run by LiteRT.

    Args:
        path: A file with one input and one output.
        dataset: `tf.data.Dataset` of batches of float images and labels.
    """
    from tflite_tools import flatbuffer
    from tflite_tools.interpreter import Interpreter

    content = flatbuffer.read_bytes(path)
    flatbuffer.parse(content, path)
    interpreter = Interpreter(content)
    (port,) = interpreter.inputs
    return _share(lambda images: interpreter.run(port.quantize(images))[0], dataset)


def _share(classify, dataset) -> float:
    right = total = 0
    for images, labels in dataset.as_numpy_iterator():
        right += int(np.count_nonzero(np.argmax(classify(images), axis=-1) == labels))
        total += len(labels)
    return right / total
