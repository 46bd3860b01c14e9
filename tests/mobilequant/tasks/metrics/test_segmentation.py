"""Mean intersection over union: against counting by hand, with void, in `evaluate`."""

import keras
import numpy as np
import pytest

from mobilequant.tasks.metrics import MeanIoU, mean_iou

VOID = 255


def counted(masks, predicted, classes, void):
    """Intersection over union of each class, pixel by pixel."""
    result = []
    for c in range(classes):
        pairs = zip(masks.flat, predicted.flat, strict=True)
        pairs = [(m == c, p == c) for m, p in pairs if m != void]
        either = sum(m or p for m, p in pairs)
        result.append(sum(m and p for m, p in pairs) / either if either else np.nan)
    return np.array(result)


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    masks = rng.choice([0, 1, 2, VOID], (3, 6, 5)).astype(np.int32)
    # Class 3 is nowhere.
    logits = rng.normal(size=(3, 6, 5, 4)).astype(np.float32) - [0, 0, 0, 100]
    return masks, logits.astype(np.float32)


def test_it_counts_what_is_not_void(example):
    masks, logits = example
    metric = mean_iou(4, VOID)
    for mask, own in zip(masks, logits, strict=True):
        metric.update_state(mask[None], own[None])
    expected = counted(masks, logits.argmax(-1), 4, VOID)
    np.testing.assert_allclose(metric.per_class(), expected)
    assert np.isnan(expected[3])
    assert float(metric.result()) == pytest.approx(np.nanmean(expected))
    metric.reset_state()
    assert np.isnan(metric.per_class()).all()


def test_what_is_predicted_in_void_does_not_matter():
    masks = np.array([[[0, 1, VOID, VOID]]])
    metric = MeanIoU(2, ignore_class=VOID)
    metric.update_state(masks, np.array([[[0, 1, 1, 0]]]))
    assert float(metric.result()) == pytest.approx(1.0)


def test_void_within_the_classes_is_ignored_too():
    metric = MeanIoU(3, ignore_class=2)
    metric.update_state(np.array([[0, 1, 2]]), np.array([[0, 1, 1]]))
    np.testing.assert_array_equal(metric.per_class(), [1.0, 1.0, np.nan])


@pytest.mark.parametrize("eagerly", [False, True])
def test_in_evaluate(example, eagerly):
    masks, logits = example
    model = keras.Sequential([keras.Input((6, 5, 4)), keras.layers.Identity()])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=VOID),
        metrics=[mean_iou(4, VOID)],
        run_eagerly=eagerly,
        jit_compile=False,
    )
    found = model.evaluate(logits, masks, batch_size=2, verbose=0, return_dict=True)
    expected = np.nanmean(counted(masks, logits.argmax(-1), 4, VOID))
    assert found["mean_iou"] == pytest.approx(expected, rel=1e-6)


def test_counts_beyond_the_whole_numbers_of_float32():
    metric = mean_iou(2)
    metric.total_cm.assign([[2.0**25, 0.0], [0.0, 2.0**25]])
    metric.update_state(np.array([[[0]]]), np.array([[[[1.0, 0.0]]]]))
    assert float(metric.total_cm[0, 0]) == 2**25 + 1


def test_it_is_saved_with_its_settings():
    metric = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(mean_iou(5, 11))
    )
    assert (metric.num_classes, metric.ignore_class, metric.sparse_y_pred) == (5, 11, False)
    assert metric.dtype == "float64"


def test_sizes_that_differ_are_named():
    with pytest.raises(ValueError, match=r"masks are \(1, 8, 8\), predictions \(1, 4, 4\).*resize"):
        mean_iou(3).update_state(np.zeros((1, 8, 8)), np.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="2 values a pixel, there are 3 classes"):
        mean_iou(3).update_state(np.zeros((1, 8, 8)), np.zeros((1, 8, 8, 2)))
