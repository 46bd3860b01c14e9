"""Top-1 accuracy of Keras models and of `.tflite` files."""

from __future__ import annotations

import numpy as np

#: Up to so many batches a quantized model is run without a graph: tracing one takes as long.
_EAGER_BATCHES = 16


def of_model(model, dataset) -> float:
    """Share of images that a Keras model classifies correctly.

    Args:
        model: Compiled or not.
        dataset: `tf.data.Dataset` of batches of images and labels.
    """
    few = 0 <= int(dataset.cardinality()) <= _EAGER_BATCHES
    usual = 0

    def classify(images):
        nonlocal usual
        usual = usual or len(images)
        # A last batch of another size would be traced anew.
        if few or len(images) != usual:
            return np.asarray(model(images, training=False))
        return model.predict_on_batch(images)

    return _share(classify, dataset)


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
