"""`mobilequant metadata`, and `convert --labels`: names of classes in files, from the shell."""

import json
import re

import keras
import numpy as np
import pytest

import mobilequant as mq
from mobilequant.cli import main
from tflite_tools import metadata


def save_quantized(path, model):
    """Writes a quantized model for values in [−1, 1]."""
    images = np.random.default_rng(0).uniform(-1, 1, (4, *model.input_shape[1:])).astype("float32")
    images[0, 0, :2] = [[-1], [1]]
    model(images, training=True)
    mq.calibrate(mq.quantize(model), images, verbose=0).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a classifier, its int8 and uint8 files, a detector, and labels for both."""
    folder = tmp_path_factory.mktemp("made")
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 3, strides=2, activation="relu")(image)
    scores = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x))
    save_quantized(folder / "q.keras", keras.Model(image, scores))
    for interface in ("int8", "uint8"):
        line = ["convert", folder / "q.keras", "-o", folder / f"{interface}.tflite"]
        assert main([*map(str, line), "--interface", interface]) == 0
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 5, strides=8, padding="same", activation="relu")(image)
    backbone = keras.Model(image, x, name="tiny")
    detector = mq.models.SSDLite(backbone, 3, extra_filters=(), batch_norm_momentum=0.0)
    save_quantized(folder / "detector.keras", detector)
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    (folder / "two.txt").write_text("red\ngreen\n")
    return folder


def run(capsys, *arguments):
    """Exit code, stdout and stderr of one call."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_show_and_write(made, tmp_path, capsys):
    source, copy = made / "uint8.tflite", tmp_path / "copy.tflite"
    code, out, _ = run(capsys, "metadata", source)
    assert code == 0 and "uint8.tflite has no metadata" in out
    code, out, _ = run(capsys, "metadata", source, "--json")
    assert json.loads(out) == {"path": str(source), "metadata": None}
    line = ["metadata", source, "--task", "classification", "--labels", made / "labels.txt"]
    code, out, _ = run(capsys, *line, "-o", copy, "--score-threshold", 0.25, "--author", "us")
    assert code == 0 and "3 labels (red, green, blue); scores from 0.25 on" in out
    assert metadata.read(source) is None
    code, out, _ = run(capsys, "metadata", copy, "--json")
    found = json.loads(out)["metadata"]
    assert found["author"] == "us" and found["outputs"][0]["labels"] == ["red", "green", "blue"]
    assert found["inputs"][0]["mean"] == [127.5]


def test_convert(made, tmp_path, capsys):
    output = tmp_path / "m.tflite"
    line = ["convert", made / "q.keras", "-o", output, "--labels", made / "labels.txt"]
    code, out, _ = run(capsys, *line)
    assert code == 0 and "uint8 in and out" in out
    assert metadata.read(output).name == "ImageClassifier"

    line = ["convert", made / "detector.keras", "-o", output, "--labels", made / "labels.txt"]
    code, _, err = run(capsys, *line)
    assert code == 2 and "--labels of a detector need --postprocess" in err
    code, out, _ = run(capsys, *line, "--postprocess")
    assert code == 0 and "TFLite_Detection_PostProcess" in out
    found = metadata.read(output)
    names = ["location", "category", "score", "number of detections"]
    assert found.name == "ObjectDetector" and [x.name for x in found.outputs] == names
    assert found.outputs[0].properties["index"] == [1, 0, 3, 2]


def test_errors(made, tmp_path, capsys):
    labels, file = made / "labels.txt", made / "uint8.tflite"
    task = ["--task", "classification"]
    for line, message in [
        ([file, *task], "--task and --labels go together"),
        ([file, "--labels", labels], "--task and --labels go together"),
        ([file, "--mean", "0"], "nothing to write"),
        ([file, *task, "--labels", tmp_path / "no.txt"], "no.txt cannot be read"),
        ([file, *task, "--labels", labels, "--activation", "none"], "--activation has no meaning"),
        ([file, *task, "--labels", made / "two.txt"], "uint8.tflite: .* 2 labels for 3 scores"),
        ([file, *task, "--labels", labels, "--mean", "0"], "pixels would not be what"),
        ([made / "int8.tflite", *task, "--labels", labels], "its input is INT8"),
        ([made / "no.tflite"], "there is no such file"),
    ]:
        before = file.read_bytes()
        code, out, err = run(capsys, "metadata", *line)
        assert code == 2 and out == "" and len(err.splitlines()) == 1
        assert file.read_bytes() == before
        assert re.search(message, err), err
