"""`mobilequant verify`: the plot, the first layer, two files, limits and what makes no sense."""

import json

import keras
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant.cli import main


def network(seed):
    """A calibrated classifier of the digits with random weights."""
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(8, 3, strides=2, activation="relu")]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10, name="top")]
    images = keras.random.uniform((8, 16, 16, 3), -1, 1, seed=0)
    return mq.calibrate(mq.quantize(keras.Sequential(layers, name="tiny")), images, verbose=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A quantized model with two files of it, and the file of another model."""
    folder = tmp_path_factory.mktemp("files")
    qmodel = network(0)
    qmodel.save(folder / "q.keras")
    tflite_tools.convert(qmodel, folder / "int8.tflite")
    tflite_tools.convert(qmodel, folder / "uint8.tflite", interface="uint8")
    tflite_tools.convert(network(1), folder / "other.tflite")
    return folder


def run(capsys, *words):
    """Exit code, JSON or None, and stderr of one call."""
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else None, captured.err


DIGITS = ["--data", "digits", "--limit", 12]


def test_plot_of_layers(folder, tmp_path, capsys):
    plot = tmp_path / "layers.png"
    words = ["verify", folder / "q.keras", folder / "int8.tflite", *DIGITS, "--layers"]
    code, result, _ = run(capsys, *words, "--plot", plot)
    assert code == 0 and result["first_difference"] is None and result["contract"]
    assert plot.read_bytes()[1:4] == b"PNG"


def test_two_files(folder, tmp_path, capsys):
    words = ["verify", folder / "int8.tflite", folder / "uint8.tflite", "--layers"]
    plot = tmp_path / "layers.png"
    code, result, err = run(capsys, *words, *DIGITS, "--max-steps", 0, "--plot", plot)
    assert code == 0 and result["kept"] and result["limits"] == {"max_steps": 0}
    assert (result["images"], result["equal"], result["max_steps"]) == (12, 1, 0)
    assert len(result["layers"]) >= 2 and "12 images of digits" in err and plot.exists()
    assert main([str(word) for word in words]) == 0
    assert "every tensor agrees" in capsys.readouterr().out


def test_limits_of_two_files(folder, capsys):
    words = ["verify", folder / "int8.tflite", folder / "other.tflite"]
    code, result, err = run(capsys, *words, "--min-equal", 0.9)
    assert code == 1 and not result["kept"] and result["images"] == 16
    assert "other.tflite lies too far from" in err and "90.0000 % asked for" in err
    code, result, _ = run(capsys, *words)
    assert code == 0 and result["kept"] and result["max_steps"] is None


def test_what_makes_no_sense(folder, tmp_path, capsys):
    model, file = folder / "q.keras", folder / "int8.tflite"
    cases = [
        ([model, file], "name images to compare on with --data"),
        ([model, file, *DIGITS, "--max-steps", 1], "--max-steps is for two .tflite files"),
        ([file, file, "--limit", 3], "need --data"),
        ([file, file, "--min-top1", 1.5], "not a number from 0 to 1"),
        ([file, file, "--plot", tmp_path / "m.jpg"], "m.jpg must end in .png"),
        ([file, model], "q.keras is no .tflite file"),
        ([file, folder / "other.tflite", "--max-steps", 1], "no quantization step in common"),
    ]
    for words, message in cases:
        code, result, err = run(capsys, "verify", *words)
        assert code == 2 and message in err, (words, err)
        assert result is None
