"""Losses over anchors: where the boxes are, and what is in them.

They take what `Targets` makes, one for each output of a detector:

    model.compile(optimizer, loss={"boxes": BoxLoss(), "scores": HardNegativeLoss()})

Each is the sum over all anchors of a batch divided by the number of its matched anchors (by 1 if
there are none), as arXiv:1512.02325, equation 1, and arXiv:1708.02002, section 4.1, have it.
"""

import keras
from keras import ops

_PACKAGE = "mobilequant"


class _AnchorLoss(keras.losses.Loss):
    """Base class: a subclass has `sums(y_true, y_pred)`.

    Keras takes the mean over the images of what `call` returns, so that each image's sum is
    multiplied by their number first.

    Args:
        weight: factor of the loss among the model's losses.
        reduction: of the images' losses, as for any Keras loss.
        name: of the loss.
    """

    def __init__(self, *, weight=1.0, reduction="sum_over_batch_size", name=None, **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.weight = weight

    def call(self, y_true, y_pred):
        """The images' losses: (batch,)."""
        sums, matched = self.sums(y_true, y_pred)
        images = ops.cast(ops.shape(sums)[0], sums.dtype)
        total = ops.maximum(ops.sum(ops.cast(matched, sums.dtype)), 1.0)
        return sums * (self.weight * images / total)

    def sums(self, y_true, y_pred):
        """Sums over the anchors, (batch,), and whether each anchor has an object."""
        raise NotImplementedError

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class BoxLoss(_AnchorLoss):
    """Smooth L1 of the codes of matched anchors (arXiv:1504.08083, equations 2 and 3).

    Per code, with difference d: d²/(2δ) where |d| < δ, else |d| − δ/2.

    Args:
        delta: δ.
        options: `weight`, `reduction`, `name`.
    """

    def __init__(self, delta=1.0, *, name="box_loss", **options):
        super().__init__(name=name, **options)
        self.delta = delta

    def sums(self, y_true, y_pred):
        matched = y_true[..., 4]
        # Keras' Huber loss is δ times smooth L1, and the mean over the four codes.
        losses = keras.losses.huber(y_true[..., :4], y_pred, delta=self.delta) * (4 / self.delta)
        return ops.sum(losses * matched, axis=-1), matched

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class HardNegativeLoss(_AnchorLoss):
    """Cross-entropy of softmax scores over matched anchors and the hardest of the background.

    Of each image's background anchors those with the largest losses count, `ratio` for every
    matched one (arXiv:1512.02325, section 2.2, "Hard negative mining").

    Args:
        ratio: background anchors for one matched anchor.
        min_negatives: background anchors of an image at least, so that images without objects
            teach something.
        options: `weight`, `reduction`, `name`.
    """

    def __init__(self, ratio=3.0, min_negatives=3, *, name="hard_negative_loss", **options):
        super().__init__(name=name, **options)
        self.ratio = ratio
        self.min_negatives = min_negatives

    def sums(self, y_true, y_pred):
        classes = ops.cast(y_true, "int32")
        matched, background = classes > 0, classes == 0
        losses = ops.sparse_categorical_crossentropy(
            ops.maximum(classes, 0), y_pred, from_logits=True
        )
        counts = ops.sum(ops.cast(matched, losses.dtype), axis=-1, keepdims=True)
        counts = ops.maximum(self.ratio * counts, self.min_negatives)
        hardness = ops.stop_gradient(ops.where(background, losses, -1.0))
        # Sorting twice gives each anchor its place, equal losses in turn.
        places = ops.argsort(ops.argsort(-hardness, axis=-1), axis=-1)
        mined = background & (ops.cast(places, losses.dtype) < counts)
        return ops.sum(ops.where(matched | mined, losses, 0.0), axis=-1), matched

    def get_config(self):
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "min_negatives": self.min_negatives,
        }


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FocalLoss(_AnchorLoss):
    """Focal loss of sigmoid scores over all anchors (arXiv:1708.02002, equation 5).

    Per class, with p_t the probability of what is true: −α_t·(1 − p_t)^γ·ln p_t.

    Args:
        alpha: α_t of what is there; that of what is not is 1 − α.
        gamma: γ.
        options: `weight`, `reduction`, `name`.
    """

    def __init__(self, alpha=0.25, gamma=2.0, *, name="focal_loss", **options):
        super().__init__(name=name, **options)
        self.alpha = alpha
        self.gamma = gamma

    def sums(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")
        classes = y_pred.shape[-1]
        # The background, label − 1 = −1, has no channel: all zeros.
        truth = ops.one_hot(labels - 1, classes, dtype=y_pred.dtype)
        losses = classes * keras.losses.binary_focal_crossentropy(
            truth,
            y_pred,
            apply_class_balancing=True,
            alpha=self.alpha,
            gamma=self.gamma,
            from_logits=True,
        )
        return ops.sum(ops.where(labels >= 0, losses, 0.0), axis=-1), labels > 0

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}
