"""Classification: one label an image."""

from __future__ import annotations

import numpy as np

from mobilequant.cli import accuracy
from mobilequant.cli.errors import UsageError
from mobilequant.cli.predictions import Prediction, class_name

NAME = "classification"
MEASURES = {"accuracy": "accuracy"}
BATCH_SIZE = 32
IMAGE_SIZE = 224

#: How many classes a prediction lists.
_TOP = 5


def load(name, **options):
    """`load_classification`."""
    from mobilequant.data import load_classification

    return load_classification(name, **options)


def build(arguments, shape, data, momentum: float):
    """A new MobileNet."""
    from mobilequant import models

    return getattr(models, arguments.model)(
        shape,
        data.num_classes,
        alpha=arguments.alpha,
        early_strides=tuple(arguments.early_strides),
        dropout=arguments.dropout,
        weights=arguments.weights,
        batch_norm_momentum=momentum,
    )


def check(model, data, name) -> None:
    """Raises `UsageError` where the model does not have one output for each class."""
    shape = model.outputs[0].shape
    if len(model.outputs) != 1 or len(shape) != 2 or shape[1] != data.num_classes:
        raise UsageError(
            f"{name} has outputs of shape {model.output_shape}, the data set {data.name} has "
            f"{data.num_classes} classes; a classifier has one output for each class"
        )


def compile(model, data, targets, **options):
    """Cross-entropy, with the accuracy."""
    from mobilequant.training import fit

    return fit.compile_classifier(model, ready=targets is not None, **options)


def targets(model, dataset):
    """Labels are what `fit` takes."""
    return dataset


def measure(model, run, data) -> dict:
    """Share of test images that are classified correctly."""
    return {"accuracy": accuracy.share(run, data.test)}


class Reader:
    """The classes of highest score.

    Args:
        model: The Keras model, or `None`.
        run: What runs it.
        names: Of the classes, or `None`.
        path: What messages call the model.
        options: For the other tasks.
    """

    #: What the name of a picture ends in; no picture is drawn.
    picture = None

    def __init__(self, model, run, names, path, **options):
        self._names = names
        self._gives_scores = _gives_probabilities(model, run)

    def read(self, outputs, image) -> Prediction:
        """The prediction for one image.

        Args:
            outputs: Of a batch of this image alone.
            image: A `PIL.Image`.
        """
        scores = np.asarray(outputs, np.float64).reshape(-1)
        if not self._gives_scores:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        # Stable: of integers several are often equal.
        best = np.argsort(-scores, kind="stable")[:_TOP]
        classes = [
            {"class": int(c), "name": class_name(self._names, c), "score": float(scores[c])}
            for c in best
        ]
        lines = [f"  {100 * c['score']:5.1f} %  {c['name']}" for c in classes]
        return Prediction({"classes": classes}, "\n" + "\n".join(lines))


def _gives_probabilities(model, run) -> bool:
    if model is not None:
        from mobilequant.training import fit

        return fit.gives_probabilities(model)
    port = run.outputs[0]
    # LiteRT gives softmax and logistic this scale, and nothing else has it but by chance.
    return port.scale is not None and port.scale == np.float32(1 / 256)
