"""Detectors whose file ends in TFLite_Detection_PostProcess, against our own decoding."""

import dataclasses
import functools

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant import targets
from mobilequant.integer.graph import FrozenGraph
from mobilequant.tasks.detection import Detector
from tflite_tools import flatbuffer
from tflite_tools.detection import require_fit
from tflite_tools.detection_tail import SIGNATURE_NAMES, attach, detach
from tflite_tools.interpreter import Interpreter
from tflite_tools.serialization import serialize

SIZE = 96
PIXEL = 1 / SIZE
CLASSES = 3


def images(count, seed=0):
    """Smooth random pictures in [−1, 1]."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 12, 12, 3)).astype("float32")
    return np.asarray(keras.ops.image.resize(coarse, (SIZE, SIZE), interpolation="bilinear"))


def detector_model(target="phone", scores="softmax"):
    return built(target, scores)


@functools.cache
def built(target, scores):
    """A quantized SSDLite that is sure of some boxes, though nobody trained it."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    features = keras.layers.Conv2D(16, 5, strides=4, padding="same", activation="relu")(image)
    features = keras.layers.MaxPooling2D(4)(features)
    model = mq.models.SSDLite(
        keras.Model(image, features, name="tiny"),
        CLASSES,
        scores=scores,
        extra_filters=(16,),
        batch_norm_momentum=0.0,  # statistics of one batch
    )
    model(images(8), training=True)
    for layer in model.layers:
        if layer.name.endswith("_pointwise") and layer.name.startswith("level"):
            layer.kernel.assign(layer.kernel * 2)
            layer.bias.assign(keras.ops.zeros_like(layer.bias))
    return mq.calibrate(mq.quantize(model, target=target), images(8), verbose=0)


def convert(path, target="phone", scores="softmax", interface=None, check=False, **options):
    qmodel = detector_model(target, scores)
    end = tflite_tools.DetectionPostProcess.of(Detector.of(qmodel), **options)
    report = tflite_tools.convert(qmodel, path, postprocess=end, interface=interface, check=check)
    return qmodel, report


def run(path, x):
    """Boxes, classes, scores and counts of the file."""
    file = Interpreter(path.read_bytes())
    return file.run(file.inputs[0].quantize(x))


def found_in_file(path, x):
    """For each image a list of (class, score, box) rows over 0.5."""
    rows = []
    for boxes, classes, scores, count in zip(*run(path, x), strict=True):
        places = [i for i in range(int(count)) if scores[i] > 0.5]
        rows.append(np.column_stack([classes[places], scores[places], boxes[places]]))
    return rows


def iou(a, b):
    """Overlap of two boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, 0))
    return common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


def greedy(boxes, scores, threshold):
    """Places of the boxes that overlap no better one; of equal scores the first is the better."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > 0.5 and all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def expected_detections(qmodel, x, *, by_class, threshold=0.5):
    """The same from Keras' raw outputs, by the textbook."""
    boxes, scores = Detector.of(qmodel).decode(qmodel(x, training=False), clip=False)
    rows = []
    for b, s in zip(boxes.numpy(), scores.numpy(), strict=True):
        if by_class:
            pairs = [(k, i) for k in range(CLASSES) for i in greedy(b, s[:, k], threshold)]
        else:
            pairs = [(s[i].argmax(), i) for i in greedy(b, s.max(1), threshold)]
        rows.append(np.array([[k, s[i, k], *b[i]] for k, i in pairs]).reshape(-1, 6))
    return rows


def assert_same(got, expected):
    """Each detection has its like: the class, the score, the box to a pixel."""
    assert sum(map(len, expected)) > 20
    for a, b in zip(got, expected, strict=True):
        assert len(a) == len(b)
        near = np.abs(a[:, None] - b[None]) <= [0, 1e-5, *[PIXEL] * 4]
        like = near.all(axis=-1)
        assert like.any(axis=0).all() and like.any(axis=1).all()


@pytest.mark.parametrize(
    ("target", "scores", "interface", "by_class"),
    [
        ("phone", "softmax", "int8", True),
        ("phone", "softmax", "uint8", False),
        ("edgetpu", "sigmoid", "uint8", True),
        ("edgetpu", "sigmoid", "int8", False),
    ],
)
def test_the_boxes_are_those_of_keras(target, scores, interface, by_class, tmp_path):
    path = tmp_path / "m.tflite"
    options = {"by_class": by_class, "max_detections": 300}
    qmodel, report = convert(path, target, scores, interface, check=True, **options)
    x = images(4, seed=1)
    assert_same(found_in_file(path, x), expected_detections(qmodel, x, by_class=by_class))
    kind = "SOFTMAX" if scores == "softmax" else "LOGISTIC"
    assert report.float_operators == {kind: 1, "TFLite_Detection_PostProcess": 1}
    assert report.operators["DEQUANTIZE"] == 2
    assert f"on the CPU: 1 {kind}, 1 TFLite_Detection_PostProcess" in str(report)
    assert f"{interface} in, float32 out" in str(report)
    assert report.agreement.detections > 0
    verified = tflite_tools.verify(qmodel, path, x, layers=True)
    assert verified.first_difference is None
    assert [(a.name, a.max_steps, a.span > 50) for a in verified.outputs] == [
        ("boxes", 0, True),
        ("scores", 0, True),
    ]
    assert verified.detections == run(path, x)[3].sum()
    assert "TFLite_Detection_PostProcess gave" in str(verified)
    found = tflite_tools.inspect(path)
    assert found.operators["TFLite_Detection_PostProcess", 1] == 1
    assert found.inputs[0].dtype == interface.upper()
    assert [output.dtype for output in found.outputs] == ["FLOAT32"] * 4


def test_the_boxes_are_those_that_detect_gives(tmp_path):
    """Detection in Keras and the operator: the same order, also of equal scores."""
    path = tmp_path / "m.tflite"
    qmodel, _ = convert(path, max_detections=20, score_threshold=0.4, iou_threshold=0.3)
    x = images(3, seed=2)
    expected = Detector.of(qmodel).detect(
        qmodel(x, training=False), score_threshold=0.4, iou_threshold=0.3, max_detections=20
    )
    boxes, classes, scores, counts = run(path, x)
    np.testing.assert_array_equal(counts, expected.counts)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
    there = np.arange(20) < counts[:, None]
    np.testing.assert_array_equal(classes[there], expected.classes.numpy()[there])
    np.testing.assert_allclose(boxes.clip(0, 1), expected.boxes, atol=1e-5)


def test_options_reach_the_operator(tmp_path):
    path = tmp_path / "m.tflite"
    x = images(2, seed=1)
    convert(path, max_detections=7, score_threshold=0.05)
    boxes, classes, scores, counts = run(path, x)
    assert boxes.shape == (2, 7, 4) and classes.shape == scores.shape == (2, 7)
    assert list(counts) == [7, 7] and (np.diff(scores) <= 0).all()
    convert(path, max_detections=7, detections_per_class=1, score_threshold=0.05)
    _, classes, _, counts = run(path, x)
    assert all(len(set(row[: int(n)])) == n for row, n in zip(classes, counts, strict=True))
    convert(path, score_threshold=1)
    assert list(run(path, x)[3]) == [0, 0]


def test_the_signature_has_the_names_that_runtimes_look_for(tmp_path):
    path = tmp_path / "m.tflite"
    convert(path)
    (signature,) = flatbuffer.read(path).signatureDefs
    outputs = {flatbuffer.text(entry.name): entry.tensorIndex for entry in signature.outputs}
    ports = Interpreter(path.read_bytes()).outputs
    assert [outputs[name] for name in SIGNATURE_NAMES.values()] == [p.index for p in ports]
    assert [p.name.split("_")[-1] for p in ports] == list(SIGNATURE_NAMES)
    assert [p.shape for p in ports] == [(1, 10, 4), (1, 10), (1, 10), (1,)]


def test_detach_undoes_attach(tmp_path):
    convert(tmp_path / "m.tflite")
    plain = tmp_path / "plain.tflite"
    tflite_tools.convert(detector_model(), plain, check=False)
    before = plain.read_bytes()
    model = flatbuffer.parse(before)
    end = tflite_tools.DetectionPostProcess.of(Detector.of(detector_model()))
    attached = attach(model, end)
    assert attached == (tmp_path / "m.tflite").read_bytes()
    assert serialize(model) == before, "attach must leave the model as it is"
    again = detach(flatbuffer.parse(attached)).subgraphs[0]
    assert list(again.outputs) == list(model.subgraphs[0].outputs)
    assert len(again.tensors) == len(model.subgraphs[0].tensors)
    assert len(again.operators) == len(model.subgraphs[0].operators)


def test_a_file_of_other_hands(tmp_path):
    path = tmp_path / "m.tflite"
    qmodel, _ = convert(path)
    model = flatbuffer.read(path)
    del model.subgraphs[0].operators[-2]
    path.write_bytes(serialize(model))
    with pytest.raises(tflite_tools.InvalidModelError, match="m.tflite: ends in .* as tflite_tool"):
        tflite_tools.verify(qmodel, path, images(1))


def test_a_file_of_another_detector(tmp_path):
    path = tmp_path / "m.tflite"
    convert(path, scores="sigmoid", target="edgetpu")
    with pytest.raises(ValueError, match="has the shape"):
        tflite_tools.verify(detector_model(), path, images(1))


def test_models_that_it_does_not_fit(tmp_path):
    path = tmp_path / "m.tflite"
    end = tflite_tools.DetectionPostProcess.of(Detector.of(detector_model()))
    fewer = dataclasses.replace(end, anchors=end.anchors[:-1])
    cases = [
        (detector_model(), fewer, {}, "no detector that this postprocess fits. For 269 anchors"),
        (detector_model(), dataclasses.replace(end, classes=5), {}, r"scores \(270, 6\), in this"),
        (detector_model(), dataclasses.replace(end, scores="sigmoid"), {}, r"scores \(270, 3\)"),
        (detector_model(), end, {"batch_size": 2}, "one image at a time, got batch_size=2"),
        (classifier(), end, {}, "Model 'classifier' is no detector .* it has 'top'"),
    ]
    for qmodel, wrong, options, message in cases:
        with pytest.raises(tflite_tools.ConversionError, match=message):
            tflite_tools.convert(qmodel, path, postprocess=wrong, **options)
    assert not path.exists()


def classifier():
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    x = keras.layers.Dense(4, name="top")(x)
    model = keras.Model(image, x, name="classifier")
    return mq.calibrate(mq.quantize(model), images(4)[:, :8, :8], verbose=0)


def test_a_device_without_it():
    device = dataclasses.replace(targets.get("phone"), name="bare", postprocessing={})
    end = tflite_tools.DetectionPostProcess(np.ones((1, 4)), 1)
    graph = FrozenGraph("m", "bare", [], [], [])
    with pytest.raises(tflite_tools.ConversionError, match="'bare' takes no DEQUANTIZE, SOFTMAX"):
        require_fit(graph, end, device, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchors": np.zeros((4,))}, r"anchors must be \(anchors, 4\).* shape \(4,\)"),
        ({"anchors": np.zeros((2, 4))}, "heights and widths above 0; are they corners"),
        ({"anchors": np.full((2, 4), np.nan)}, "anchors must be finite"),
        ({"classes": 0}, "classes must be a whole number from 1 on, got 0"),
        ({"max_detections": 2.5}, "max_detections must be a whole number"),
        ({"detections_per_class": 0}, "detections_per_class must be a whole number"),
        ({"scores": "relu"}, "scores='relu' must be one of 'softmax', 'sigmoid'"),
        ({"score_threshold": 50}, r"score_threshold must lie in \[0, 1\], got 50"),
        ({"iou_threshold": 0}, r"iou_threshold must lie in \(0, 1\], got 0"),
        ({"scale_factors": (10, 10, 5)}, "scale_factors must be four positive numbers"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tflite_tools.DetectionPostProcess(**{"anchors": np.ones((2, 4)), "classes": 1, **options})
