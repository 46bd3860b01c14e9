"""Detection: boxes around objects."""

from __future__ import annotations

import math

from mobilequant.cli import pictures
from mobilequant.cli.errors import UsageError
from mobilequant.cli.predictions import Prediction, class_name

NAME = "detection"
MEASURES = {"map_50": "mAP@0.5", "map": "mAP@0.5:0.95"}
BATCH_SIZE = 8
IMAGE_SIZE = 320

#: Detections of lower score change no precision that can be seen, but take time.
_LEAST_SCORE = 0.01


def load(name, **options):
    """`load_detection`, once it is certain that its results can be measured."""
    from mobilequant.data import load_detection
    from mobilequant.extras import require_pycocotools

    require_pycocotools("the figures of a detector")
    return load_detection(name, **options)


def build(arguments, shape, data, momentum: float):
    """A new SSDLite."""
    from mobilequant import models

    options = {} if arguments.output_stride is None else {"output_stride": arguments.output_stride}
    return models.SSDLite(
        arguments.backbone,
        data.num_classes,
        input_shape=shape,
        alpha=arguments.alpha,
        early_strides=tuple(arguments.early_strides),
        backbone_weights=arguments.backbone_weights,
        batch_norm_momentum=momentum,
        **options,
    )


def is_detector(model) -> bool:
    """Whether a Keras model carries the description of a detector."""
    from mobilequant.tasks.detection.detector import DetectorNote

    return any(isinstance(layer, DetectorNote) for layer in model._flatten_layers())


def classes(model) -> int | None:
    """How many classes a detector knows; `None` where there is no model to ask."""
    return _detector(model).classes if model is not None and is_detector(model) else None


def check(model, data, name) -> None:
    """Raises `UsageError` where the model is no detector of the data set's classes."""
    if not is_detector(model):
        raise UsageError(
            f"{name} is no detector; `mobilequant train --task detection` or "
            "mobilequant.models.SSDLite makes one"
        )
    classes = _detector(model).classes
    if classes != data.num_classes:
        raise UsageError(
            f"{name} detects {classes} classes, the data set {data.name} has {data.num_classes}"
        )


def compile(model, data, targets, **options):
    """The detector's own losses."""
    from mobilequant.training import fit

    return fit.compile_model(model, _detector(model).losses(), targets=targets, **options)


def targets(model, dataset):
    """Objects, matched to the detector's anchors."""
    import tensorflow as tf

    return dataset.map(_detector(model).targets(), num_parallel_calls=tf.data.AUTOTUNE)


def measure(model, run, data) -> dict:
    """COCO's mean average precision on the test images."""
    from mobilequant.tasks.metrics import coco_map

    detector, truths, found = _detector(model), [], []
    for images, objects in data.test.as_numpy_iterator():
        truths += [{key: values[i] for key, values in objects.items()} for i in range(len(images))]
        found += _detections(detector, run(images), _LEAST_SCORE)
    result = coco_map(truths, found, data.num_classes)
    # Where there is no object to find, there is nothing to measure.
    values = {"map_50": result.at_50, "map": result.mean}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


class Reader:
    """The boxes of high score.

    Args:
        model: The Keras model, which knows the anchors; `None` for a file that ends in
            TFLite_Detection_PostProcess.
        run: What runs it.
        names: Of the classes, or `None`.
        path: What messages call the model.
        score: The least score of what is shown.
        options: For the other tasks.

    Raises:
        UsageError: The anchors are not known.
    """

    #: What the name of a picture ends in.
    picture = "boxes"

    def __init__(self, model, run, names, path, *, score, **options):
        self._names, self._score, self._detector = names, score, None
        if model is not None and is_detector(model):
            self._detector = _detector(model)
        elif model is not None or len(run.outputs) != 4:
            raise UsageError(
                f"{path} gives box codes, which mean nothing without the anchors: name the Keras "
                "model that it was made from with --keras Q.keras"
            )

    def read(self, outputs, image) -> Prediction:
        """The prediction for one image.

        Args:
            outputs: Of a batch of this image alone.
            image: A `PIL.Image`.
        """
        (found,) = _detections(self._detector, outputs, self._score)
        sides = (image.height, image.width) * 2
        detections = [
            {
                "class": int(label),
                "name": class_name(self._names, label),
                "score": round(float(score), 4),
                "box": [round(float(x) * side, 1) for x, side in zip(box, sides, strict=True)],
            }
            for box, score, label in zip(
                found["boxes"], found["scores"], found["labels"], strict=True
            )
        ]
        counts = {}
        for item in detections:
            counts[item["name"]] = counts.get(item["name"], 0) + 1
        text = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
        return Prediction(
            {"detections": detections},
            f" {text}",
            lambda: pictures.with_boxes(image, detections),
        )


def _detector(model):
    from mobilequant.tasks.detection import Detector

    return Detector.of(model)


def _detections(detector, outputs, least_score: float) -> list[dict]:
    """For each image `boxes`, `scores` and `labels`, the best first, without padding.

    Args:
        detector: Decodes the outputs; `None` where the file has done it.
        outputs: {"boxes", "scores"} of all anchors, or the four outputs of
            TFLite_Detection_PostProcess.
        least_score: What is not above it is dropped.
    """
    if isinstance(outputs, dict):
        found = detector.detect(outputs, score_threshold=least_score)
        boxes, scores, labels, counts = (x.numpy() for x in found)
    else:
        boxes, labels, scores, counts = outputs
    result = []
    for i, count in enumerate(counts.astype(int)):
        kept = scores[i, :count] > least_score
        result.append(
            {
                "boxes": boxes[i, :count][kept].clip(0.0, 1.0),
                "scores": scores[i, :count][kept],
                "labels": labels[i, :count][kept].astype(int),
            }
        )
    return result
