"""What a detector's numbers mean, and that it travels with the model."""

import keras
import numpy as np
import pytest

import mobilequant as mq
from mobilequant.tasks.detection import (
    AnchorSettings,
    BoxLoss,
    Detector,
    FocalLoss,
    HardNegativeLoss,
    detecting,
    encode,
    make_anchors,
)
from mobilequant.tasks.detection.detector import DetectorNote

DETECTOR = Detector(
    AnchorSettings(aspect_ratios=((1.0,), (1.0, 2.0)), strides=(8.0, 16.0)),
    feature_sizes=((2, 2), (1, 1)),
    image_size=(16, 16),
    classes=2,
)


def model():
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    boxes = keras.layers.Reshape((11, 4))(keras.layers.Dense(44)(x))
    scores = keras.layers.Reshape((11, 3), name="scores")(keras.layers.Dense(33)(x))
    return keras.Model(image, {"boxes": DetectorNote(DETECTOR)(boxes), "scores": scores})


def test_it_survives_quantize_save_load_and_clone(tmp_path):
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    qmodel = mq.calibrate(mq.quantize(model()), images, verbose=0)
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    nested = keras.Sequential([keras.Input((16, 16, 3)), model()])
    for other in (model(), qmodel, loaded, keras.models.clone_model(qmodel), nested):
        assert Detector.of(other) == DETECTOR
    assert isinstance(Detector.of(loaded).feature_sizes[0], tuple)
    expected = make_anchors(DETECTOR.settings, ((2, 2), (1, 1)), (16, 16))
    np.testing.assert_array_equal(Detector.of(loaded).anchors, expected)


def test_detections_as_one_tensor(tmp_path):
    """Of the float model, the quantized one, and the same loaded."""
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    options = {"score_threshold": 0.1, "max_detections": 7}
    for detector_model in (
        model(),
        mq.calibrate(mq.quantize(model()), images, verbose=0),
    ):
        evaluator = detecting(detector_model, **options)
        packed = evaluator.predict(images, verbose=0)
        found = DETECTOR.detect(detector_model.predict(images, verbose=0), **options)
        assert packed.shape == (4, 7, 6) and evaluator.output_shape == (None, 7, 6)
        np.testing.assert_allclose(packed[..., :4], found.boxes, atol=1e-6)
        np.testing.assert_allclose(packed[..., 4], found.scores, atol=1e-6)
        np.testing.assert_array_equal(packed[..., 5], found.classes)
        evaluator.save(tmp_path / "evaluator.keras")
        loaded = keras.models.load_model(tmp_path / "evaluator.keras")
        np.testing.assert_array_equal(loaded.predict(images, verbose=0), packed)


def test_a_model_without_one():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match="'plain' carries 0 descriptions of a detector"):
        Detector.of(plain)


def test_the_background_is_no_class():
    anchors = DETECTOR.anchors
    boxes = np.clip(anchors[None], 0, 1)
    logits = np.full((1, 11, 3), -9, "float32")
    logits[..., 0] = 9  # background everywhere …
    logits[0, 4] = [-9, -9, 9]  # … but in one anchor
    outputs = {"boxes": encode(boxes, anchors), "scores": logits}
    found = DETECTOR.detect(outputs, score_threshold=0.5)
    assert found.counts == [1] and found.classes[0, 0] == 1 and found.scores[0, 0] > 0.99
    np.testing.assert_allclose(found.boxes[0, 0], boxes[0, 4], atol=1e-5)


def test_sigmoid_scores():
    detector = Detector(**{**vars(DETECTOR), "background": False})
    logits = np.zeros((1, 11, 2), "float32")
    _, probabilities = detector.decode({"boxes": np.zeros((1, 11, 4)), "scores": logits})
    assert (probabilities.numpy() == 0.5).all()
    assert isinstance(detector.losses()["scores"], FocalLoss)
    assert isinstance(DETECTOR.losses()["scores"], HardNegativeLoss)
    assert isinstance(DETECTOR.losses()["boxes"], BoxLoss)


def test_outputs_of_another_detector():
    outputs = {"boxes": np.zeros((1, 10, 4)), "scores": np.zeros((1, 10, 3))}
    with pytest.raises(ValueError, match="it has 11 anchors and 3 scores for each"):
        DETECTOR.decode(outputs)
