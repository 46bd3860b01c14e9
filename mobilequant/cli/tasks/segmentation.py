"""Semantic segmentation: one label a pixel."""

from __future__ import annotations

import keras
import numpy as np

from mobilequant.cli import pictures
from mobilequant.cli.errors import UsageError
from mobilequant.cli.predictions import Prediction, class_name

NAME = "segmentation"
MEASURES = {"mean_iou": "mean IoU"}
BATCH_SIZE = 8
IMAGE_SIZE = 320

#: What `--head` may be, and the builders.
HEADS = {"lraspp": "LRASPP", "raspp": "RASPP"}


def load(name, **options):
    """`load_segmentation`."""
    from mobilequant.data import load_segmentation

    return load_segmentation(name, **options)


def build(arguments, shape, data, momentum: float):
    """A new model: a head on a backbone, with logits at the size of the image."""
    from mobilequant import models

    options = {} if arguments.output_stride is None else {"output_stride": arguments.output_stride}
    return getattr(models, HEADS[arguments.head])(
        arguments.backbone,
        data.num_classes,
        input_shape=shape,
        alpha=arguments.alpha,
        early_strides=tuple(arguments.early_strides),
        dropout=arguments.dropout,
        backbone_weights=arguments.backbone_weights,
        batch_norm_momentum=momentum,
        **options,
    )


def check(model, data, name) -> None:
    """Raises `UsageError` where the model gives neither scores nor indices of the classes."""
    shape = model.outputs[0].shape
    if len(model.outputs) == 1 and (len(shape) == 3 or shape[3:] == (data.num_classes,)):
        return
    raise UsageError(
        f"{name} has outputs of shape {model.output_shape}, the data set {data.name} has "
        f"{data.num_classes} classes; a model for it gives as many scores for each pixel"
    )


def compile(model, data, targets, **options):
    """Cross-entropy of all pixels that have a class, with the mean IoU."""
    from mobilequant.tasks.metrics import mean_iou
    from mobilequant.training import fit

    wanted = (*data.image_shape[:2], data.num_classes)
    if tuple(model.outputs[0].shape[1:]) != wanted:
        raise UsageError(
            f"model {model.name!r} has outputs of shape {model.output_shape}; to be trained it "
            f'must give logits at the size of the image, {wanted}: build it with output="logits"'
        )
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=not fit.gives_probabilities(model), ignore_class=data.void_label
    )
    metrics = [mean_iou(data.num_classes, data.void_label)]
    return fit.compile_model(model, loss, metrics=metrics, targets=targets, **options)


def targets(model, dataset):
    """Masks are what `fit` takes."""
    return dataset


def measure(model, run, data) -> dict:
    """Mean intersection over union on the test images."""
    from mobilequant.tasks.metrics import MeanIoU

    metric = MeanIoU(data.num_classes, ignore_class=data.void_label)
    for images, masks in data.test.as_numpy_iterator():
        metric.update_state(masks, _indices(run(images), masks.shape[1:]))
    return {"mean_iou": float(metric.result())}


class Reader:
    """A mask, and which share of the image each class has.

    Args:
        model: The Keras model, or `None`.
        run: What runs it.
        names: Of the classes, or `None`.
        path: What messages call the model.
        size: (height, width) of the images that the model takes.
        options: For the other tasks.
    """

    #: What the name of a picture ends in.
    picture = "mask"

    def __init__(self, model, run, names, path, *, size, **options):
        self._names, self._size = names, size

    def read(self, outputs, image) -> Prediction:
        """The prediction for one image.

        Args:
            outputs: Of a batch of this image alone.
            image: A `PIL.Image`.
        """
        mask = _indices(outputs, self._size)[0]
        numbers, counts = np.unique(mask, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        classes = [
            {
                "class": int(numbers[i]),
                "name": class_name(self._names, numbers[i]),
                "share": float(counts[i] / mask.size),
            }
            for i in order
        ]
        text = ", ".join(f"{c['name']} {100 * c['share']:.1f} %" for c in classes)
        return Prediction(
            {"classes": classes}, f" {text}", lambda: pictures.with_mask(image, mask, classes)
        )


def _indices(outputs, size) -> np.ndarray:
    """Class indices (batch, height, width): as they are, or of logits, at `size`."""
    if np.ndim(outputs) == 3:
        return np.asarray(outputs)
    if tuple(outputs.shape[1:3]) != tuple(size):
        outputs = keras.ops.image.resize(outputs, size, data_format="channels_last")
    return np.argmax(keras.ops.convert_to_numpy(outputs), axis=-1)
