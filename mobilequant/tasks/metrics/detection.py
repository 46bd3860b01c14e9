"""COCO's mean average precision as a Keras metric."""

from collections.abc import Mapping

import keras
import numpy as np

from mobilequant.extras import require_pycocotools
from mobilequant.lazy import LazyModule
from mobilequant.tasks.metrics.coco import CocoResult, coco_map

tf = LazyModule("tensorflow")


@keras.saving.register_keras_serializable("mobilequant")
class CocoMeanAveragePrecision(keras.metrics.Metric):
    """Mean average precision in `model.evaluate`, as COCO computes it.

    Keras hands a metric one tensor of the targets and one of the outputs. So the model ends in
    one tensor of detections (batch, detections, 6): box (ymin, xmin, ymax, xmax), score, label
    (−1 for padding), as `pack_detections` makes it, and the data set is mapped with
    `pack_objects`:

        metric = CocoMeanAveragePrecision(classes)
        model.compile(loss=no_loss, metrics=[metric], jit_compile=False)
        model.evaluate(data.test.map(lambda images, objects: (images, pack_objects(objects))))

    Called directly, `update_state` takes the dictionaries as they are.

    Detections and objects are kept as lists outside of TensorFlow's graph until `reset_state`, so
    that the model must not be compiled by XLA. The average is computed when `result` is called
    outside of the graph, which Keras does at the end of `evaluate` and of each epoch; while a
    pass is under way the progress bar shows NaN.

    Args:
        classes: labels are 0 to classes − 1.
        max_detections: those of highest score count, for each image and class.
        name: under which Keras reports the mean; `_50` and `_75` follow it.

    Raises:
        ImportError: pycocotools is missing.
    """

    def __init__(self, classes: int, max_detections: int = 100, name: str = "map", **options):
        require_pycocotools("COCO metrics")
        super().__init__(name=name, **options)
        self.classes = classes
        self.max_detections = max_detections
        self._truths: list[dict] = []
        self._found: list[dict] = []
        self._computed: CocoResult | None = None

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Keeps the objects and detections of a batch.

        Args:
            y_true: dictionary of `boxes`, `labels` and perhaps `crowd`, padded, as
                `load_detection` gives it; or that packed by `pack_objects`.
            y_pred: dictionary of `boxes`, `scores` and `labels`, padded; or that packed by
                `pack_detections`.
            sample_weight: has no meaning here.

        Raises:
            ValueError: a tensor has another shape, or weights are given.
        """
        if sample_weight is not None:
            raise ValueError(f"{self.name}: COCO's precision knows no weights")
        truth = pack_objects(y_true) if isinstance(y_true, Mapping) else y_true
        found = pack_detections(y_pred) if isinstance(y_pred, Mapping) else y_pred
        for tensor, what, function in (
            (truth, "targets", "pack_objects"),
            (found, "detections", "pack_detections"),
        ):
            if len(tensor.shape) != 3 or tensor.shape[-1] != 6:
                raise ValueError(
                    f"{self.name}: {what} are {tuple(tensor.shape)}, expected (batch, number, 6); "
                    f"Keras hands a metric one tensor: use {function}"
                )
        tf.numpy_function(self._keep, [tf.cast(truth, tf.float32), tf.cast(found, tf.float32)], [])

    def result(self) -> dict:
        """The mean, and those at the thresholds 0.50 and 0.75; NaN inside a graph."""
        names = (self.name, f"{self.name}_50", f"{self.name}_75")
        if not tf.executing_eagerly():
            return {name: tf.constant(np.nan) for name in names}
        result = self.details()
        return dict(zip(names, (result.mean, result.at_50, result.at_75), strict=True))

    def details(self) -> CocoResult:
        """Everything that was computed, with the precision of each class."""
        if self._computed is None:
            self._computed = coco_map(
                self._truths, self._found, self.classes, max_detections=self.max_detections
            )
        return self._computed

    def reset_state(self):
        """Forgets all images."""
        self._truths, self._found, self._computed = [], [], None

    def get_config(self):
        """The arguments."""
        return {
            **super().get_config(),
            "classes": self.classes,
            "max_detections": self.max_detections,
        }

    def _keep(self, truths: np.ndarray, found: np.ndarray) -> None:
        for truth, detections in zip(truths, found, strict=True):
            truth, detections = truth[truth[:, 4] >= 0], detections[detections[:, 5] >= 0]
            self._truths.append(
                {"boxes": truth[:, :4], "labels": truth[:, 4], "crowd": truth[:, 5] > 0}
            )
            self._found.append(
                {
                    "boxes": detections[:, :4],
                    "scores": detections[:, 4],
                    "labels": detections[:, 5],
                }
            )
        self._computed = None


def pack_objects(objects: Mapping):
    """The objects of a batch as one float32 tensor (batch, number, 6): box, label, crowd.

    Args:
        objects: `boxes` (batch, number, 4), `labels` (batch, number) with −1 for padding, and
            perhaps `crowd` (batch, number).
    """
    labels = tf.cast(objects["labels"], tf.float32)
    crowd = tf.cast(objects["crowd"], tf.float32) if "crowd" in objects else tf.zeros_like(labels)
    return _packed(objects["boxes"], labels, crowd)


def pack_detections(detections: Mapping):
    """The detections of a batch as one float32 tensor (batch, number, 6): box, score, label.

    Args:
        detections: `boxes` (batch, number, 4), `scores` (batch, number) and `labels` (batch,
            number) with −1 for padding.
    """
    scores, labels = (tf.cast(detections[key], tf.float32) for key in ("scores", "labels"))
    return _packed(detections["boxes"], scores, labels)


def no_loss(y_true, y_pred):
    """0 for each image: Keras evaluates no model without a loss, and detections have none."""
    del y_true
    return keras.ops.zeros(keras.ops.shape(y_pred)[:1])


def _packed(boxes, first, second):
    boxes = tf.cast(boxes, tf.float32)
    return tf.concat([boxes, first[..., tf.newaxis], second[..., tf.newaxis]], axis=-1)
