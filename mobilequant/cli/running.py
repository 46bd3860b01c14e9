"""Keras models and `.tflite` files as one thing: images in, real values out."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

#: Up to so many batches a quantized model is run without a graph: tracing one takes as long.
_EAGER_BATCHES = 16


class ModelRunner:
    """Runs a Keras model.

    Args:
        model: Compiled or not.
        batches: How many batches there will be; −1 where nobody knows.
    """

    def __init__(self, model, batches: int):
        self._model, self._few, self._usual = model, 0 <= batches <= _EAGER_BATCHES, 0

    def __call__(self, images: np.ndarray):
        """The outputs, in the structure of the model's.

        Args:
            images: float32 (batch, height, width, channels).
        """
        self._usual = self._usual or len(images)
        # A last batch of another size would be traced anew.
        if self._few or len(images) != self._usual:
            outputs = self._model(images, training=False)
            return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)
        return self._model.predict_on_batch(images)


class FileRunner:
    """Runs a `.tflite` file in LiteRT.

    Args:
        path: A file with one input, which takes images.
        like: The Keras model that it was made from, in whose structure the outputs come. Without
            it one output comes as an array, several as a list.
        kernels: A key of `tflite_tools.interpreter.KERNELS`.

    Attributes:
        inputs: The file's inputs, `tflite_tools.interpreter.Port`.
        outputs: The file's outputs.

    Raises:
        InvalidModelError: It cannot be read, is no TFLite model or ends LiteRT's process.
        ValueError: LiteRT cannot run it.
    """

    def __init__(self, path: str | Path, like=None, kernels: str = "default"):
        from tflite_tools import flatbuffer
        from tflite_tools.child import require_runnable
        from tflite_tools.interpreter import Interpreter

        content = flatbuffer.read_bytes(path)
        require_runnable(path, flatbuffer.parse(content, path), kernels)
        self._interpreter, self._like = Interpreter(content, kernels=kernels), like
        self.inputs, self.outputs = self._interpreter.inputs, self._interpreter.outputs

    def __call__(self, images: np.ndarray):
        """The outputs as real values; class indices as they are.

        Args:
            images: float32 (batch, height, width, channels).
        """
        (port,) = self.inputs
        arrays = self._interpreter.run(port.quantize(images))
        values = [port.dequantize(x) for port, x in zip(self.outputs, arrays, strict=True)]
        if len(values) == 1:
            return values[0]
        if self._like is None or len(values) != len(self._like.outputs):
            return values
        return keras.tree.pack_sequence_as(self._like.output, values)
