"""Detectors as files: every integer equal to Keras, up to the raw boxes and scores."""

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant.tasks.detection import Detector

SIZE = 96


def images(count, seed=0):
    """Smooth random pictures in [−1, 1]."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 12, 12, 3)).astype("float32")
    return np.asarray(keras.ops.image.resize(coarse, (SIZE, SIZE), interpolation="bilinear"))


def after_a_short_training(backbone, **options):
    """A detector whose weights and statistics are those of a network at work."""
    keras.utils.set_random_seed(0)
    model = mq.models.SSDLite(
        backbone,
        3,
        input_shape=(SIZE, SIZE, 3),
        batch_norm_momentum=0.5,
        extra_filters=(64, 32),
        **options,
    )
    detector = Detector.of(model)
    boxes = np.tile(np.array([[0.1, 0.1, 0.5, 0.6], [0.4, 0.5, 0.9, 0.9]], "float32"), (8, 1, 1))
    x, y = detector.targets()(images(8), {"boxes": boxes, "labels": np.tile([0, 2], (8, 1))})
    model.compile(keras.optimizers.Adam(1e-3), detector.losses(), run_eagerly=True)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    return model


@pytest.mark.parametrize("target", ["phone", "edgetpu"])
@pytest.mark.parametrize("neck", [None, "fpn_lite"])
@pytest.mark.parametrize(
    ("backbone", "alpha"), [("MobileNetV2", 0.35), ("MobileNetV4ConvSmall", 0.25)]
)
def test_every_integer_of_the_head_is_that_of_keras(backbone, alpha, neck, target, tmp_path):
    if (target == "edgetpu") == (backbone == "MobileNetV2"):
        pytest.skip("each backbone on one target; the other combinations take the same rules")
    options = {"neck": neck, "neck_filters": 32, "neck_levels": (3, 6)} if neck else {}
    if neck:
        options["scores"] = "sigmoid"
    model = after_a_short_training(backbone, alpha=alpha, **options)
    qmodel = mq.calibrate(mq.quantize(model, target=target), images(8), verbose=0)
    assert Detector.of(qmodel) == Detector.of(model)
    path = tmp_path / "m.tflite"
    report = tflite_tools.convert(qmodel, path, samples=images(2))
    assert set(report.tensors) <= {"INT8", "INT32"}
    allowed = {"ADD", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "QUANTIZE", "RESHAPE"}
    assert set(report.operators) <= allowed | ({"RESIZE_NEAREST_NEIGHBOR"} if neck else set())
    result = tflite_tools.verify(qmodel, path, images(4, seed=1), layers=True)
    assert result.first_difference is None, result.first_difference
    assert all(output.max_steps == 0 and output.span > 50 for output in result.outputs)


def test_a_quantized_detector_trains_on(tmp_path):
    model = after_a_short_training("MobileNetV2", alpha=0.35)
    qmodel = mq.calibrate(mq.quantize(model), images(4), verbose=0)
    detector = Detector.of(qmodel)
    objects = {"boxes": np.zeros((4, 1, 4)), "labels": np.full((4, 1), -1)}
    objects["boxes"][:2], objects["labels"][:2] = (0.2, 0.2, 0.7, 0.8), 1
    x, y = detector.targets()(images(4), objects)
    qmodel.compile(keras.optimizers.Adam(1e-3), detector.losses(), run_eagerly=True)
    losses = qmodel.fit(x, y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    a, b = (m.predict(x, verbose=0) for m in (qmodel, loaded))
    for name in ("boxes", "scores"):
        np.testing.assert_array_equal(a[name], b[name])
    mine, theirs = (detector.detect(y, score_threshold=0.2) for y in (a, b))
    np.testing.assert_array_equal(mine.boxes, theirs.boxes)
