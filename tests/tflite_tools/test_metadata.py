"""TFLite metadata: written into files, read back, and refused where they would be wrong."""

import dataclasses
import functools
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mobilequant as mq
import tflite_tools
from tflite_tools import flatbuffer, metadata
from tflite_tools.interpreter import Interpreter
from tflite_tools.metadata import coding, tables
from tflite_tools.serialization import serialize

LABELS = ("red", "green", "blue")


@functools.cache
def quantized(kind="classifier", low=-1.0):
    """A small calibrated network for values from `low` to 1."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 3, strides=2, name="scores")(image)
    if kind != "segmenter":
        x = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(x))
    images = np.random.default_rng(0).uniform(low, 1, (4, 16, 16, 3)).astype("float32")
    images[0, 0, :2] = [[low], [1]]
    return mq.calibrate(mq.quantize(keras.Model(image, x, name=kind)), images, verbose=0)


@pytest.fixture
def path(tmp_path):
    """The file of a classifier, without metadata."""
    path = tmp_path / "m.tflite"
    tflite_tools.convert(quantized(), path, interface="uint8", check=False)
    return path


def outputs(path):
    """What the file computes on random pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (8, 16, 16, 3), np.uint8)
    return Interpreter(path.read_bytes()).run(pixels)


def test_written_and_read_back(path):
    assert metadata.read(path) is None
    before, plain = outputs(path), path.read_bytes()
    task = metadata.ImageClassifier(
        labels=LABELS,
        score_threshold=0.0,
        description="tells colours",
        version="2",
        author="us",
        license="Apache-2.0",
    )
    written = metadata.write(path, task)
    assert written == metadata.read(path)
    assert (written.name, written.description, written.version) == (
        "ImageClassifier",
        "tells colours",
        "2",
    )
    assert (written.author, written.license) == ("us", "Apache-2.0")
    (image,), (scores,) = written.inputs, written.outputs
    assert (image.content, image.properties) == ("ImageProperties", {"color_space": "RGB"})
    assert (image.mean, image.std) == ((127.5,), (127.5,))
    assert scores.labels == LABELS and scores.score_threshold == 0
    assert written.files == {"labels.txt": len("red\ngreen\nblue")}
    assert "3 labels (red, green, blue)" in str(written)
    assert "(pixel − 127.5) / 127.5" in str(written)
    assert written.to_dict()["outputs"][0]["labels"] == LABELS

    for a, b in zip(before, outputs(path), strict=True):
        np.testing.assert_array_equal(a, b)
    assert "TFLITE_METADATA" in tflite_tools.inspect(path).metadata
    # Apps map the files into memory as they are.
    with zipfile.ZipFile(path) as archive:
        assert all(i.compress_type == zipfile.ZIP_STORED for i in archive.infolist())
    # Weights are where they were: less the metadata it is the file from before.
    model = flatbuffer.read(path)
    model.metadata = [x for x in model.metadata if flatbuffer.text(x.name) != "TFLITE_METADATA"]
    model.buffers = model.buffers[:-1]
    assert serialize(model) == plain


def test_written_twice_is_written_once(path):
    metadata.write(path, metadata.ImageClassifier(labels=["other"] * 3, score_threshold=0.5))
    task = metadata.ImageClassifier(labels=LABELS)
    metadata.write(path, task)
    twice = path.read_bytes()
    assert metadata.read(path).outputs[0].labels == LABELS
    assert [flatbuffer.text(x.name) for x in flatbuffer.read(path).metadata].count(
        "TFLITE_METADATA"
    ) == 1
    metadata.write(path, task)
    assert path.read_bytes() == twice, "equal input gives equal bytes"


def test_into_a_copy(path):
    before, copy = path.read_bytes(), path.with_name("copy.tflite")
    metadata.write(path, metadata.ImageClassifier(labels=LABELS), copy)
    assert path.read_bytes() == before and metadata.read(copy).outputs[0].labels == LABELS
    with pytest.raises(tflite_tools.ConversionError, match="there is no folder"):
        metadata.write(path, metadata.ImageClassifier(labels=LABELS), copy / "no" / "folder")
    assert sorted(x.name for x in path.parent.iterdir()) == ["copy.tflite", "m.tflite"]


def test_convert_writes_them_and_the_file_still_verifies(tmp_path):
    path = tmp_path / "m.tflite"
    report = tflite_tools.convert(
        quantized(), path, metadata=metadata.ImageClassifier(labels=LABELS)
    )
    assert report.interface == "uint8" and report.agreement.breach is None
    assert report.size == path.stat().st_size
    assert metadata.read(path).outputs[0].labels == LABELS
    x = np.random.default_rng(2).uniform(-1, 1, (4, 16, 16, 3)).astype("float32")
    assert tflite_tools.verify(quantized(), path, x).max_steps == 0
    with pytest.raises(tflite_tools.ConversionError, match="'classifier' and .* its input is INT8"):
        tflite_tools.convert(
            quantized(), path, interface="int8", metadata=metadata.ImageClassifier(labels=LABELS)
        )


@pytest.mark.parametrize(("activation", "said"), [(None, "softmax"), ("none", "none")])
def test_segmenter(tmp_path, activation, said):
    path = tmp_path / "m.tflite"
    task = metadata.ImageSegmenter(labels=LABELS, activation=activation)
    tflite_tools.convert(quantized("segmenter"), path, metadata=task, check=False)
    assert metadata.read(path).activation == said
    assert f"activation  {said}" in str(metadata.read(path))


def test_pixels_must_be_what_the_model_was_trained_on(tmp_path):
    path = tmp_path / "m.tflite"
    tflite_tools.convert(quantized(low=0.0), path, interface="uint8", check=False)
    task = metadata.ImageClassifier(labels=LABELS)
    with pytest.raises(
        tflite_tools.InvalidModelError,
        match=r"m.tflite: an app's pixels .* mean 127.5 and std 127.5 .* \(pixel − 0\) / 255",
    ):
        metadata.write(path, task)
    metadata.write(path, dataclasses.replace(task, mean=0, std=255))
    metadata.write(path, dataclasses.replace(task, mean=[0, 0, 0], std=[255, 254, 255]))
    with pytest.raises(tflite_tools.InvalidModelError, match="2 values of mean for 3 channels"):
        metadata.write(path, dataclasses.replace(task, mean=[0, 0]))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (metadata.ImageClassifier(labels=["a"]), "1 labels for 3 scores"),
        (metadata.ImageSegmenter(labels=LABELS), r"shape \[1, 3\], a segmenter's is"),
        (metadata.ObjectDetector(labels=LABELS), "must end in TFLite_Detection_PostProcess"),
    ],
)
def test_tasks_that_the_file_is_not_of(path, task, message):
    before = path.read_bytes()
    with pytest.raises(tflite_tools.InvalidModelError, match=message):
        metadata.write(path, task)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "red"}, "a list of names, got one text"),
        ({"labels": []}, "one for each class, none empty"),
        ({"labels": ["a", " "]}, "one for each class, none empty"),
        ({"labels": ["a\nb"]}, "cannot hold line breaks"),
        ({"std": 0}, "std must be above 0"),
        ({"mean": np.nan}, "mean must be a number"),
        ({"score_threshold": np.nan}, "score_threshold=nan is no number"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        metadata.ImageClassifier(**{"labels": LABELS, **options})


def test_bad_score_calibration(path):
    for curve in [(1.0, 2.0), (-1.0, 1.0, 0.0), (1.0, np.inf, 0.0)]:
        with pytest.raises(ValueError, match=r"are \(scale, slope, offset\) with a scale from 0"):
            metadata.ScoreCalibration([curve])
    with pytest.raises(ValueError, match="transformation='exp' must be one of 'identity', 'log'"):
        metadata.ScoreCalibration((1.0, 1.0, 0.0), transformation="exp")
    with pytest.raises(ValueError, match="activation='relu' must be"):
        metadata.ImageSegmenter(labels=LABELS, activation="relu")
    two = metadata.ScoreCalibration([(1.0, 1.0, 0.0)] * 2)
    with pytest.raises(ValueError, match="parameters for 2 classes where there are 3"):
        metadata.write(path, metadata.ImageClassifier(labels=LABELS, score_calibration=two))
    one = metadata.ScoreCalibration((1.0, 1.0, 0.0), transformation="log")
    written = metadata.write(path, metadata.ImageClassifier(labels=LABELS, score_calibration=one))
    assert written.outputs[0].score_calibration == {"score_transformation": "LOG"}
    assert "scores calibrated" in str(written)


def values_of(kind):
    """Any value of a field."""
    if isinstance(kind, tables.Enumeration):
        return st.sampled_from(kind.names)
    if isinstance(kind, tables.Union):
        parts = [values_of(name).map(lambda x, n=name: {n: x}) for name in kind.kinds]
        return st.one_of(parts)
    if isinstance(kind, list):
        return st.lists(values_of(kind[0]), max_size=3)
    scalars = {
        "int": st.integers(-(2**31), 2**31 - 1).filter(bool),
        "uint": st.integers(1, 2**32 - 1),
        "float": st.floats(width=32, allow_nan=False).filter(bool),
        "string": st.text(st.characters(codec="utf-8"), max_size=6),
        "bytes": st.binary(max_size=20),
    }
    return scalars[kind] if kind in scalars else tables_of(kind)


@functools.cache
def tables_of(name):
    """Any table; a field may be left out, but for enumerations, which then are their first."""
    fields = {key: values_of(kind) for key, kind in tables.TABLES[name].items()}
    chosen = {k for k, v in tables.TABLES[name].items() if isinstance(v, tables.Enumeration)}
    return st.fixed_dictionaries(
        {k: v for k, v in fields.items() if k in chosen},
        optional={k: v for k, v in fields.items() if k not in chosen},
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_table_comes_back(data):
    name = data.draw(st.sampled_from(["TensorMetadata", "SubGraphMetadata", "ModelMetadata"]))
    values = data.draw(tables_of(name))
    encoded = coding.encode(name, values, tables.IDENTIFIER)
    assert coding.decode(name, encoded, tables.IDENTIFIER) == values


def test_unknown_fields_are_not_dropped():
    with pytest.raises(KeyError, match="Stats has no field mean"):
        coding.encode("Stats", {"mean": [1.0]}, tables.IDENTIFIER)


@functools.cache
def labelled():
    """The bytes of a file with metadata."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.tflite"
        task = metadata.ImageClassifier(labels=LABELS)
        tflite_tools.convert(quantized(), path, metadata=task, check=False)
        return path.read_bytes()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8))
def test_broken_bytes_end_in_an_error_that_says_so(changes):
    """Metadata and archive with some bytes changed: read, or refused in one way."""
    good = labelled()
    model = flatbuffer.parse(good)
    (entry,) = [x for x in model.metadata if flatbuffer.text(x.name) == "TFLITE_METADATA"]
    content = bytearray(bytes(model.buffers[entry.buffer].data))
    archive = bytearray(good[good.index(b"PK\3\4") :])
    for place, value in changes:
        part = content if place % 2 else archive
        part[place // 2 % len(part)] = value
    model.buffers[entry.buffer].data = np.frombuffer(bytes(content), np.uint8)
    try:
        found = metadata.reading.of_model(model, serialize(model) + bytes(archive))
    except tflite_tools.InvalidModelError as error:
        assert "metadata are broken" in str(error)
    else:
        assert str(found)


def test_files_of_other_hands(shared, tmp_path):
    """Coral's files carry metadata that Google's tools wrote."""
    source = shared / "reference/edgetpu/mobilenet_v1_0.25_128_quant.tflite"
    found, copy = metadata.read(source), tmp_path / "copy.tflite"
    assert found.name == "ImageClassifier" and found.inputs[0].mean == (127.5,)
    labels = found.outputs[0].labels
    assert labels[:2] == ("background", "tench, Tinca tinca") and len(labels) == 1001
    written = metadata.write(source, metadata.ImageClassifier(labels=labels[::-1]), copy)
    assert written.outputs[0].labels == labels[::-1]
    assert tflite_tools.compare(source, copy).equal == 1


def test_a_file_without_its_labels_names_them(tmp_path):
    good = labelled()
    path = tmp_path / "cut.tflite"
    path.write_bytes(good[: good.index(b"PK\3\4")])
    with pytest.raises(
        tflite_tools.InvalidModelError, match="cut.tflite: .* no associated file 'labels.txt'"
    ):
        metadata.read(path)


def test_metadata_that_share_without_end_are_refused():
    """A thousand times the same table of a thousand times the same text."""
    text = b"x" * 4000
    strings = {"name": "t", "tensor_names": ["a"] * 1000}
    encoded = bytearray(coding.encode("TensorGroup", strings, tables.IDENTIFIER))
    place = len(encoded)
    encoded += len(text).to_bytes(4, "little") + text + b"\0" * 4
    vector = encoded.index((1000).to_bytes(4, "little"))
    for i in range(1000):
        at = vector + 4 + 4 * i
        encoded[at : at + 4] = (place - at).to_bytes(4, "little")
    with pytest.raises(tflite_tools.InvalidModelError, match="more than its bytes have room for"):
        coding.decode("TensorGroup", bytes(encoded), tables.IDENTIFIER)
