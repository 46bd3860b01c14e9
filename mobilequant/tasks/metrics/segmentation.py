"""Mean intersection over union with void pixels."""

import keras
import numpy as np


@keras.saving.register_keras_serializable("mobilequant")
class MeanIoU(keras.metrics.MeanIoU):
    """Keras' mean intersection over union, with the value of each class.

    Masks are class indices (batch, height, width); predictions are logits or probabilities
    (batch, height, width, classes) of the same size, or class indices with `sparse_y_pred=True`.
    A model with smaller outputs is to resize them itself, so that what is measured is what is
    deployed.

    Args:
        num_classes: without void.
        **options: Keras' own. Counts are kept in float64: in float32 those of large data sets
            would be rounded.
    """

    def __init__(self, num_classes, **options):
        super().__init__(num_classes, **{"dtype": "float64", **options})

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch.

        Raises:
            ValueError: masks and predictions are of different size, or there is another number of
                logits than classes.
        """
        true, predicted = tuple(y_true.shape), tuple(y_pred.shape)
        if not self.sparse_y_pred:
            if predicted[-1] not in (None, self.num_classes):
                raise ValueError(
                    f"{self.name}: predictions have {predicted[-1]} values a pixel, there are "
                    f"{self.num_classes} classes"
                )
            predicted = predicted[:-1]
        if len(true) != len(predicted) or any(
            t is not None and p is not None and t != p for t, p in zip(true, predicted, strict=True)
        ):
            raise ValueError(
                f"{self.name}: masks are {true}, predictions {predicted} (batch, height, width); "
                "resize the logits in the model, or load the masks at the size of its output"
            )
        return super().update_state(y_true, y_pred, sample_weight)

    def per_class(self) -> np.ndarray:
        """Intersection over union of each class (num_classes,); NaN where there is no pixel."""
        counts = keras.ops.convert_to_numpy(self.total_cm)
        both = np.diag(counts)
        either = counts.sum(0) + counts.sum(1) - both
        with np.errstate(invalid="ignore"):
            return both / either

    def get_config(self):
        """Keras' own, with the type of the counts."""
        config = {**super().get_config(), "dtype": self.dtype}
        # Keras' `MeanIoU` measures all classes and takes no list of them.
        config.pop("target_class_ids", None)
        return config


def mean_iou(classes: int, void_label: int | None = None, name: str = "mean_iou") -> MeanIoU:
    """The metric of semantic segmentation, for `compile` and for results of a `.tflite` file.

    Args:
        classes: how many there are, without void.
        void_label: index of pixels that do not count, or `None`.
        name: under which Keras reports it.

    Returns:
        A metric that takes masks (batch, height, width) and logits (batch, height, width,
        classes).
    """
    return MeanIoU(classes, ignore_class=void_label, sparse_y_pred=False, name=name)
