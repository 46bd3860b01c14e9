"""A detector with decoding and suppression behind it, in Keras: for `evaluate` and `predict`."""

import keras

from mobilequant.tasks.detection.detector import Detector
from mobilequant.tasks.metrics.detection import pack_detections


def detecting(model: keras.Model, **suppression) -> keras.Model:
    """A model from images to what is in them, on the weights of a detector.

    Its one output is what COCO's metric takes:

        evaluator = detecting(qmodel, score_threshold=0.01)
        evaluator.compile(
            loss=no_loss, metrics=[CocoMeanAveragePrecision(classes)], jit_compile=False
        )
        evaluator.evaluate(data.map(lambda images, objects: (images, pack_objects(objects))))

    Args:
        model: a detector, float or quantized; the weights stay shared with it.
        suppression: options of `suppress`.

    Returns:
        A functional model to (batch, max_detections, 6): box (ymin, xmin, ymax, xmax), score and
        label, −1 for padding.

    Raises:
        ValueError: the model is no detector.
    """
    layer = Detect(Detector.of(model), suppression, name="detections")
    return keras.Model(model.input, layer(model.output), name=f"{model.name}_detecting")


@keras.saving.register_keras_serializable(package="mobilequant")
class Detect(keras.layers.Layer):
    """Decodes a detector's outputs, suppresses, and packs what is left into one tensor.

    Args:
        detector: a `Detector`, or its configuration.
        suppression: options of `suppress`.
        kwargs: of any Keras layer.
    """

    def __init__(self, detector, suppression=None, **kwargs):
        super().__init__(**kwargs)
        is_config = isinstance(detector, dict)
        self.detector = Detector.from_config(detector) if is_config else detector
        self.suppression = dict(suppression or {})

    def call(self, outputs):
        found = self.detector.detect(outputs, **self.suppression)
        return pack_detections(
            {"boxes": found.boxes, "scores": found.scores, "labels": found.classes}
        )

    def get_config(self):
        return {
            **super().get_config(),
            "detector": self.detector.get_config(),
            "suppression": self.suppression,
        }
