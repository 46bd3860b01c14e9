"""COCO's mean average precision as a metric of Keras: in `evaluate` and in `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilequant.tasks.metrics import (
    CocoMeanAveragePrecision,
    coco_map,
    no_loss,
    pack_detections,
    pack_objects,
)

CLASSES = 3


@pytest.fixture
def example():
    """Seven images with up to four objects, and noisy detections of them."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.5, (7, 4, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.2, 0.5, (7, 4, 2))], axis=-1)
    labels = rng.integers(-1, CLASSES, (7, 4))
    objects = {
        "boxes": boxes.astype(np.float32) * (labels >= 0)[..., None],
        "labels": labels.astype(np.int32),
        "crowd": (rng.random((7, 4)) < 0.2) & (labels >= 0),
    }
    detections = {
        "boxes": (boxes + rng.normal(0, 0.03, boxes.shape)).astype(np.float32),
        "scores": rng.random((7, 4)).astype(np.float32),
        "labels": labels.astype(np.float32),
    }
    return objects, detections


def images(batch):
    """The images of a batch, one by one."""
    return [{key: values[n] for key, values in batch.items()} for n in range(len(batch["labels"]))]


def test_update_state_takes_dictionaries_batch_by_batch(example):
    objects, detections = example
    metric = CocoMeanAveragePrecision(CLASSES)
    for part in (slice(0, 3), slice(3, 7)):
        metric.update_state(*({k: v[part] for k, v in batch.items()} for batch in example))
    expected = coco_map(images(objects), images(detections), CLASSES)
    result = metric.result()
    assert list(result) == ["map", "map_50", "map_75"] and 0 < result["map"] < 1
    assert list(result.values()) == [expected.mean, expected.at_50, expected.at_75]
    np.testing.assert_array_equal(metric.details().per_class, expected.per_class)

    metric.reset_state()
    assert np.isnan(metric.result()["map"])


@pytest.mark.parametrize("eagerly", [False, True])
def test_in_evaluate(example, eagerly):
    objects, detections = example
    # A detector that knows the answer: it hands on its input.
    model = keras.Sequential([keras.Input((4, 6)), keras.layers.Identity()])
    metric = CocoMeanAveragePrecision(CLASSES)
    model.compile(loss=no_loss, metrics=[metric], run_eagerly=eagerly, jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((pack_detections(detections), objects)).batch(3)
    data = data.map(lambda x, y: (x, pack_objects(y)))
    expected = coco_map(images(objects), images(detections), CLASSES)
    for _ in range(2):  # the second pass starts anew
        found = model.evaluate(data, verbose=0, return_dict=True)
        assert found["map"] == pytest.approx(expected.mean)
        assert found["map_50"] == pytest.approx(expected.at_50)
        np.testing.assert_array_equal(metric.details().per_class, expected.per_class)


def test_in_fit(example):
    objects, detections = example
    model = keras.Sequential([keras.Input((4, 6)), keras.layers.Identity()])
    model.add(keras.layers.Rescaling(1.0))
    model.compile("sgd", loss="mse", metrics=[CocoMeanAveragePrecision(CLASSES)], jit_compile=False)
    history = model.fit(
        np.asarray(pack_detections(detections)),
        np.asarray(pack_objects(objects)),
        batch_size=7,
        validation_split=3 / 7,
        verbose=0,
        shuffle=False,
    ).history
    parts = [
        coco_map(images(objects)[part], images(detections)[part], CLASSES).mean
        for part in (slice(4), slice(4, 7))
    ]
    np.testing.assert_allclose([history["map"][0], history["val_map"][0]], parts)


def test_it_is_saved_with_its_settings():
    metric = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(CocoMeanAveragePrecision(4, 20, name="ap"))
    )
    assert (metric.classes, metric.max_detections, metric.name) == (4, 20, "ap")


def test_one_tensor_of_a_dictionary_is_refused(example):
    objects, detections = example
    metric = CocoMeanAveragePrecision(CLASSES)
    # What Keras hands to a metric where targets are a dictionary: its first entry.
    with pytest.raises(ValueError, match=r"targets are \(7, 4, 4\).*use pack_objects"):
        metric.update_state(objects["boxes"], pack_detections(detections))
    with pytest.raises(ValueError, match="use pack_detections"):
        metric.update_state(objects, detections["boxes"])
    with pytest.raises(ValueError, match="no weights"):
        metric.update_state(objects, detections, np.ones(7))
