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


def at_work(backbone, **options):
    """A detector whose statistics are those of a network at work."""
    keras.utils.set_random_seed(0)
    model = mq.models.SSDLite(
        backbone,
        3,
        input_shape=(SIZE, SIZE, 3),
        batch_norm_momentum=0.0,  # statistics of one batch
        extra_filters=(64, 32),
        **options,
    )
    model(images(8), training=True)
    return model


PYRAMID = {"neck": "fpn_lite", "neck_filters": 32, "neck_levels": (3, 6), "scores": "sigmoid"}


@pytest.mark.parametrize(
    ("target", "backbone", "alpha", "neck"),
    [
        ("phone", "MobileNetV2", 0.35, {}),
        ("edgetpu", "MobileNetV4ConvSmall", 0.25, PYRAMID),
        pytest.param("phone", "MobileNetV4ConvSmall", 0.25, {}, marks=pytest.mark.slow),
        pytest.param("edgetpu", "MobileNetV2", 0.35, PYRAMID, marks=pytest.mark.slow),
    ],
)
def test_every_integer_of_the_head_is_that_of_keras(target, backbone, alpha, neck, tmp_path):
    model = at_work(backbone, alpha=alpha, **neck)
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
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    features = mq.models.conv_bn(image, 16, strides=2)
    features = keras.layers.MaxPooling2D(8)(features)
    model = mq.models.SSDLite(keras.Model(image, features), 3, extra_filters=(32,))
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
