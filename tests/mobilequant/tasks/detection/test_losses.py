"""Losses over anchors against loops in NumPy, and their gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilequant.tasks.detection import BoxLoss, FocalLoss, HardNegativeLoss

BATCH, ANCHORS, CLASSES = 3, 40, 4


def labels(seed=0):
    """Class + 1, background and ignored; the last image has no objects."""
    y = np.random.default_rng(seed).choice(
        [-1, 0, 1, 2, 3, 4], (BATCH, ANCHORS), p=[0.05, 0.75, 0.05, 0.05, 0.05, 0.05]
    )
    y[-1] = 0
    return y.astype("int32")


def logits(channels, seed=1):
    shape = (BATCH, ANCHORS, channels)
    return np.random.default_rng(seed).normal(0, 2, shape).astype("float32")


def test_boxes():
    rng = np.random.default_rng(0)
    matched = (labels() > 0).astype("float32")
    codes, predicted = rng.normal(size=(2, BATCH, ANCHORS, 4)).astype("float32")
    y_true = np.concatenate([codes, matched[..., None]], axis=-1)
    for delta in (1.0, 1 / 9):
        total = 0.0
        for image, anchor in zip(*np.nonzero(matched), strict=True):
            for t, p in zip(codes[image, anchor], predicted[image, anchor], strict=True):
                d = abs(t - p)
                total += d * d / (2 * delta) if d < delta else d - delta / 2
        assert float(BoxLoss(delta)(y_true, predicted)) == pytest.approx(
            total / matched.sum(), rel=1e-5
        )
    assert float(BoxLoss(weight=2.0)(y_true, predicted)) == pytest.approx(
        2 * float(BoxLoss()(y_true, predicted)), rel=1e-6
    )


def cross_entropy(row, label):
    row = row.astype("float64")
    return np.log(np.exp(row).sum()) - row[label]


@pytest.mark.parametrize(("ratio", "least"), [(3, 0), (3, 5), (1, 2)])
def test_hard_negatives(ratio, least):
    y, x = labels(), logits(CLASSES + 1)
    total = 0.0
    for image in range(BATCH):
        losses = [
            (cross_entropy(row, max(label, 0)), label)
            for row, label in zip(x[image], y[image], strict=True)
        ]
        positive = [loss for loss, label in losses if label > 0]
        negative = sorted((loss for loss, label in losses if label == 0), reverse=True)
        total += sum(positive) + sum(negative[: max(ratio * len(positive), least)])
    loss = float(HardNegativeLoss(ratio, least)(y, x))
    assert loss == pytest.approx(total / (y > 0).sum(), rel=1e-5)


def test_hard_negatives_choose_by_loss_and_not_by_place():
    """Equal losses, as before training, do not make all of the background count."""
    y = np.zeros((1, 10), "int32")
    y[0, 4] = 1
    loss = float(HardNegativeLoss(3, 0)(y, np.zeros((1, 10, 2), "float32")))
    assert loss == pytest.approx(4 * np.log(2), rel=1e-6)


def test_focal():
    y, x = labels(), logits(CLASSES)
    total = 0.0
    for image, anchor in zip(*np.nonzero(y >= 0), strict=True):
        for c in range(CLASSES):
            p = 1 / (1 + np.exp(-float(x[image, anchor, c])))
            true = y[image, anchor] == c + 1
            p_t, a_t = (p, 0.25) if true else (1 - p, 0.75)
            total += -a_t * (1 - p_t) ** 2 * np.log(p_t)
    assert float(FocalLoss()(y, x)) == pytest.approx(total / (y > 0).sum(), rel=1e-4)


@pytest.mark.parametrize(
    "loss", [HardNegativeLoss(min_negatives=0), HardNegativeLoss(), FocalLoss()]
)
def test_ignored_anchors_teach_nothing_and_images_without_objects_no_nonsense(loss):
    y = np.full((1, ANCHORS), -1, "int32")
    x = tf.constant(logits(CLASSES + 1)[:1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(y, x)
    assert value == 0 and not tape.gradient(value, x).numpy().any()
    empty = loss(np.zeros((1, ANCHORS)), x)
    assert np.isfinite(empty) and (empty > 0 or loss.get_config().get("min_negatives") == 0)


def test_losses_do_not_depend_on_how_images_are_spread_over_a_batch():
    """One division by all matched anchors, whatever image they are in."""
    y, x = labels(), logits(CLASSES)
    order = np.random.default_rng(2).permutation(BATCH)
    assert float(FocalLoss()(y, x)) == pytest.approx(
        float(FocalLoss()(y[order], x[order])), rel=1e-6
    )
    doubled = float(FocalLoss()(np.concatenate([y, y]), np.concatenate([x, x])))
    assert doubled == pytest.approx(float(FocalLoss()(y, x)), rel=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        BoxLoss(0.5, weight=2.0),
        HardNegativeLoss(2.0, 7, name="mined"),
        FocalLoss(0.4, 1.5, reduction="sum"),
    ],
)
def test_losses_survive_serialization(loss):
    saved = keras.saving.serialize_keras_object(loss)
    assert keras.saving.deserialize_keras_object(saved).get_config() == loss.get_config()
