"""MediaPipe Tasks, the code that Android and iOS apps call, on our files and real images.

Small networks, calibrated on the images, whose answers on the same pixels are compared: Keras'
inference, from the very integers that the pixels are to the file, against MediaPipe's.
"""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from environments import REPOSITORY, cannot, last_line, python_with, run_python

import mobilequant as mq
import tflite_tools
from mobilequant.data import load_classification, load_detection, load_segmentation
from mobilequant.tasks.detection import Detector
from tflite_tools import flatbuffer, metadata
from tflite_tools.interpreter import Interpreter
from tflite_tools.metadata import coding
from tflite_tools.metadata.tables import IDENTIFIER, TABLES, Enumeration, Union

PIXEL = 1.001  # MediaPipe rounds corners and sizes down to whole pixels

MISSING_LIBRARY = re.compile(r"OSError: (lib\S+): cannot open shared object file")


@pytest.fixture(scope="module")
def mediapipe():
    """The interpreter of an environment with MediaPipe as setup.py wants it."""
    setup = (REPOSITORY / "setup.py").read_text()
    return python_with(re.search(r'MEDIAPIPE = "(.+)"', setup)[1])


def ask(mediapipe, task, path, images, folder):
    """What MediaPipe says of uint8 images: arrays by name, a list for "results" and "masks"."""
    np.save(folder / "images.npy", images)
    arguments = (task, path, folder / "images.npy", folder / "results.npz")
    result = run_python(mediapipe, Path(__file__).with_name("mediapipe_tasks.py"), *arguments)
    if missing := MISSING_LIBRARY.search(result.stderr):
        cannot(f"MediaPipe needs {missing[1]}: apt-get install libegl1 libgles2")
    assert result.returncode == 0, last_line(result.stderr)
    with np.load(folder / "results.npz") as found:
        answers = {"labels": found["labels"].tolist()}
        for key in ("results", "masks"):
            answers[key] = [
                found[f"{key}_{i}"] for i in range(len(images)) if f"{key}_{i}" in found
            ]
    return answers


def as_generated(table, values):
    """A table of ours as MediaPipe's classes have it: camel case, numbers for names."""
    found = {}
    for field, kind in TABLES[table].items():
        head, *rest = field.split("_")
        name, value = head + "".join(map(str.title, rest)), values.get(field)
        if isinstance(kind, Union):
            (part, inner), *_ = value.items() if value else [(None, None)]
            found[f"{name}Type"] = kind.kinds.index(part) + 1 if part else 0
            kind, value = part, inner
        if isinstance(kind, Enumeration):
            found[name] = kind.names.index(value)
        elif value is not None:
            found[name] = converted(kind, value)
        elif kind in ("int", "uint", "float"):
            found[name] = 0
    return found


def converted(kind, value):
    """A field of such a table."""
    if isinstance(kind, list):
        return [converted(kind[0], item) for item in value]
    if kind == "bytes":
        return list(value)
    return as_generated(kind, value) if kind in TABLES else value


def pixels_of(data, count):
    """Test images as a camera has them, uint8."""
    batches = data.test.unbatch().batch(count).take(1)
    ((images, _),) = batches.as_numpy_iterator()
    return np.rint((images + 1) * 127.5).astype(np.uint8)


def calibrated(model, pixels):
    """A quantized model for values in [−1, 1], whole range included."""
    x = pixels.astype("float32") / 127.5 - 1
    x[0, 0, :2] = [[-1], [1]]  # a black and a white pixel
    model(x, training=True)  # statistics of batch normalization
    return mq.calibrate(mq.quantize(model), x, verbose=0)


def predict(qmodel, path, pixels):
    """Keras' inference where each pixel is the file's input integer."""
    (port,) = Interpreter(path.read_bytes()).inputs
    assert port.dtype == np.uint8
    outputs = qmodel(port.dequantize(pixels), training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def test_image_classifier(mediapipe, shared, tmp_path):
    data = load_classification(
        "cifar10", data_dir=shared / "data", image_size=32, batch_size=64, limit=320, augment=False
    )
    keras.utils.set_random_seed(0)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(16, 3, strides=2)]
    layers += [keras.layers.BatchNormalization(momentum=0.5), keras.layers.ReLU()]
    layers += [keras.layers.Conv2D(32, 3, strides=2), keras.layers.ReLU()]
    layers += [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(data.train, epochs=3, shuffle=False, verbose=0)
    pixels = pixels_of(data, 40)
    qmodel = calibrated(model, pixels)
    path = tmp_path / "m.tflite"
    task = metadata.ImageClassifier(labels=data.class_names)
    tflite_tools.convert(qmodel, path, metadata=task)

    answers = ask(mediapipe, "classification", path, pixels, tmp_path)
    assert answers["labels"] == list(data.class_names)
    expected = predict(qmodel, path, pixels)
    assert len({int(row.argmax()) for row in expected}) > 3
    for rows, scores in zip(answers["results"], expected, strict=True):
        assert (np.diff(rows[:, 1]) <= 0).all()
        np.testing.assert_array_equal(scores[rows[:, 0].astype(int)], rows[:, 1])
    # The same on values in [−1, 1], which lie half a step from the grid of the pixels.
    usual = keras.ops.convert_to_numpy(qmodel(pixels / np.float32(127.5) - 1, training=False))
    best = np.array([rows[0, 0] for rows in answers["results"]])
    assert np.mean(usual.argmax(axis=1) == best) >= 0.9


def test_score_calibration_and_threshold(mediapipe, shared, tmp_path):
    """Logits of independent classes, which MediaPipe makes probabilities of."""
    data = load_classification("cifar10", data_dir=shared / "data", image_size=32, limit=64)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(image)
    x = keras.layers.Dense(10)(keras.layers.Flatten()(x))
    pixels = pixels_of(data, 8)
    qmodel = calibrated(keras.Model(image, x), pixels)
    path = tmp_path / "m.tflite"
    curves = [(1.0, 2.0, 0.5)] * 9 + [None]
    calibration = metadata.ScoreCalibration(curves, default_score=0.75)
    task = metadata.ImageClassifier(
        labels=data.class_names, score_calibration=calibration, score_threshold=0.6
    )
    tflite_tools.convert(qmodel, path, metadata=task)
    logits = predict(qmodel, path, pixels)
    expected = 1 / (1 + np.exp(-(2.0 * logits + 0.5)))
    expected[:, 9] = 0.75
    assert 0 < np.mean(expected < 0.6) < 0.9
    answers = ask(mediapipe, "classification", path, pixels, tmp_path)
    for rows, scores in zip(answers["results"], expected, strict=True):
        assert len(rows) == np.sum(scores >= 0.6)
        np.testing.assert_allclose(scores[rows[:, 0].astype(int)], rows[:, 1], atol=1e-5)


@pytest.mark.parametrize("levels", [1, 2])
def test_object_detector(mediapipe, shared, tmp_path, levels):
    size = 96
    data = load_detection("bccd", data_dir=shared / "data", image_size=size, limit=12)
    keras.utils.set_random_seed(1)
    image = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(16, 5, strides=4, padding="same", activation="relu")(image)
    x = keras.layers.MaxPooling2D(4)(x)
    backbone = keras.Model(image, x, name="tiny")
    model = mq.models.SSDLite(
        backbone, data.num_classes, extra_filters=(16,) * (levels - 1), batch_norm_momentum=0.0
    )
    for layer in model.layers:  # nobody trained it, but it shall be sure of some boxes
        if layer.name.endswith("_pointwise") and layer.name.startswith("level"):
            layer.kernel.assign(layer.kernel * 2)
            layer.bias.assign(keras.ops.zeros_like(layer.bias))
    pixels = pixels_of(data, 8)
    qmodel = calibrated(model, pixels)
    path = tmp_path / "m.tflite"
    detector = Detector.of(qmodel)
    choice = {"score_threshold": 0.4, "iou_threshold": 0.3, "max_detections": 20}
    end = tflite_tools.DetectionPostProcess.of(detector, **choice)
    task = metadata.ObjectDetector(labels=data.class_names)
    # Where levels of different scales are joined, QUANTIZE of MediaPipe's runtime may lie a step
    # from LiteRT's: it multiplies with 15 bits, LiteRT 2.3 with 8.
    steps = levels - 1
    tflite_tools.convert(qmodel, path, postprocess=end, metadata=task)

    answers = ask(mediapipe, "detection", path, pixels, tmp_path)
    numbers = [data.class_names.index(name) for name in answers["labels"]]
    decoded = detector.decode(predict(qmodel, path, pixels), clip=False)
    in_litert = Interpreter(path.read_bytes()).run(pixels)
    assert sum(map(len, answers["results"])) > 20 and len(numbers) > 1
    equal = []
    for rows, anchors, probabilities, boxes, classes, scores, count in zip(
        answers["results"], *map(np.asarray, decoded), *in_litert, strict=True
    ):
        number = [numbers[int(k)] for k in rows[:, 0]]
        theirs = np.column_stack([number, rows[:, 1:]])
        ours = np.column_stack([classes, scores, sides(boxes) * size])[: int(count)]
        same = np.abs(theirs[:, None] - ours) <= [0, 1e-6, *[PIXEL] * 4]
        equal += same.all(axis=-1).any(axis=1).tolist()
        # All are boxes that Keras decodes; suppression may choose others of those a step apart.
        near = np.abs(theirs[:, None, 2:] - sides(anchors) * size) <= PIXEL + 2 * steps
        sure = np.abs(theirs[:, 1, None] - probabilities[:, number].T) <= 1e-6 + 0.03 * steps
        assert (near.all(axis=-1) & sure).any(axis=1).all()
    assert np.mean(equal) >= 1 - 0.2 * steps


def sides(boxes):
    """(left, top, width, height) in shares of the image; MediaPipe limits each to [0, 1]."""
    ymin, xmin, ymax, xmax = boxes.T
    return np.column_stack([xmin, ymin, xmax - xmin, ymax - ymin]).clip(0, 1)


@pytest.mark.parametrize("output", ["logits", "head"])
def test_image_segmenter(mediapipe, shared, tmp_path, output):
    size = (64, 96)
    data = load_segmentation("camvid", data_dir=shared / "data", image_size=size, limit=8)
    keras.utils.set_random_seed(0)
    image = keras.Input((*size, 3))
    low = keras.layers.Conv2D(16, 9, strides=8, padding="same", activation="relu")(image)
    high = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(low)
    backbone = keras.Model(image, [low, high], name="tiny")
    model = mq.models.LRASPP(
        backbone, data.num_classes, filters=16, output=output, batch_norm_momentum=0.0
    )
    pixels = pixels_of(data, 4)
    qmodel = calibrated(model, pixels)
    path = tmp_path / "m.tflite"
    tflite_tools.convert(qmodel, path, metadata=metadata.ImageSegmenter(labels=data.class_names))

    answers = ask(mediapipe, "segmentation", path, pixels, tmp_path)
    assert answers["labels"] == list(data.class_names)
    logits = predict(qmodel, path, pixels)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    assert np.unique(logits.argmax(axis=-1)).size > 2
    if output == "head":  # MediaPipe gives results at the size of the image
        expected = keras.ops.convert_to_numpy(keras.ops.image.resize(expected, size))
    np.testing.assert_allclose(np.stack(answers["results"]), expected, atol=1e-5)
    second, best = np.sort(expected, axis=-1)[..., -2:].transpose(3, 0, 1, 2)
    # It resizes the mask in another way than the confidences: unsure pixels come out otherwise.
    certain = best - second > (0.05 if output == "head" else 0)
    assert certain.mean() > 0.05
    np.testing.assert_array_equal(np.stack(answers["masks"])[certain], expected.argmax(-1)[certain])


def test_mediapipes_classes_read_the_same(mediapipe, shared, tmp_path):
    """The schema as flatc compiled it for MediaPipe finds every field where we put it."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(image)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    path = tmp_path / "m.tflite"
    task = metadata.ImageSegmenter(labels=list("abcd"), activation="sigmoid", author="us")
    tflite_tools.convert(calibrated(keras.Model(image, x), pixels), path, metadata=task)
    model = flatbuffer.read(path)
    (entry,) = [x for x in model.metadata if flatbuffer.text(x.name) == "TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    (tmp_path / "metadata").write_bytes(content)
    script = Path(__file__).with_name("mediapipe_schema.py")
    result = run_python(mediapipe, script, tmp_path / "metadata")
    assert result.returncode == 0, last_line(result.stderr)
    assert json.loads(result.stdout) == as_generated(
        "ModelMetadata", coding.decode("ModelMetadata", content, IDENTIFIER)
    )
