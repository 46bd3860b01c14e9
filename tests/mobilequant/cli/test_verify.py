"""`mobilequant verify`: the plot, the first layer, two files, limits and what makes no sense."""

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import mobilequant as mq
import tflite_tools
from mobilequant.cli import main
from tflite_tools.interpreter import Interpreter


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


def test_two_files_on_photographs_without_classes(folder, tmp_path, capsys):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("taken on Monday")
    words = ["verify", folder / "int8.tflite", folder / "uint8.tflite", "--data", tmp_path]
    code, result, err = run(capsys, *words)
    assert (code, result["images"], result["equal"]) == (0, 3, 1), err
    code, result, err = run(capsys, *words, "--limit", 2)
    assert (code, result["images"]) == (0, 2) and f"2 images of {tmp_path}" in err


def test_arrays_and_other_kernels(folder, tmp_path, capsys):
    x = np.random.default_rng(0).uniform(-1, 1, (5, 16, 16, 3)).astype("float32")
    (port,) = Interpreter((folder / "int8.tflite").read_bytes()).inputs
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", **{port.name: x})
    model, file, other = folder / "q.keras", folder / "int8.tflite", folder / "other.tflite"
    code, result, err = run(capsys, "verify", model, file, "--input", tmp_path / "x.npy")
    assert code == 0 and result["contract"] and result["images"] == 5 and "x.npy" in err
    assert "file_accuracy" not in result
    for name in ("x.npy", "x.npz"):
        words = ["verify", file, other, "--input", tmp_path / name, "--no-xnnpack"]
        code, result, err = run(capsys, *words)
        assert (code, result["images"], result["kernels"]) == (0, 5, "builtin"), err


@pytest.mark.parametrize("name", ["M.TFLITE", "model.lite", "model"])
def test_the_content_says_what_a_file_is(name, folder, tmp_path, capsys):
    shutil.copy(folder / "int8.tflite", tmp_path / name)
    code, result, err = run(capsys, "inspect", tmp_path / name)
    assert code == 0 and result["operators"], err
    code, result, err = run(capsys, "verify", tmp_path / name, tmp_path / name)
    assert code == 0 and result["equal"] == 1, err


def test_stderr_is_free_of_what_native_libraries_say(folder):
    """In a process of its own, where TensorFlow has not been loaded yet."""
    words = ["verify", folder / "int8.tflite", folder / "uint8.tflite", *DIGITS]
    process = subprocess.run(
        [sys.executable, "-m", "mobilequant.cli", *map(str, words)],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )
    assert process.returncode == 0
    assert process.stderr == "comparing on 12 images of digits\n"


def test_what_makes_no_sense(folder, tmp_path, capsys):
    model, file = folder / "q.keras", folder / "int8.tflite"
    plain, text = tmp_path / "float.keras", tmp_path / "text.npz"
    keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()]).save(plain)
    text.write_text("no arrays")
    cases = [
        ([model, file], "name images to compare on with --data"),
        ([model, file, *DIGITS, "--max-steps", 1], "--max-steps is for two .tflite files"),
        ([file, file, "--limit", 3], "need --data"),
        ([file, file, "--min-top1", 1.5], "not a number from 0 to 1"),
        ([file, file, "--plot", tmp_path / "m.jpg"], "m.jpg must end in .png"),
        ([file, model], "q.keras: not a TFLite file"),
        ([plain, file, *DIGITS], f"run mobilequant verify FLOAT.tflite {file}"),
        ([model, file, *DIGITS, "--input", "x.npy"], "--data and --input: give one of the two"),
        ([model, file, "--input", tmp_path / "x.npy"], "x.npy: there is no such file"),
        ([model, file, "--input", text], "text.npz is no array that NumPy can read"),
        ([file, folder / "other.tflite", "--max-steps", 1], "no quantization step in common"),
    ]
    for words, message in cases:
        code, result, err = run(capsys, "verify", *words)
        assert code == 2 and message in err, (words, err)
        assert result is None
