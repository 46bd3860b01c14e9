"""`mobilequant benchmark`: its options reach the library, and what makes no sense is said."""

import json

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant.cli import main
from tflite_tools.interpreter import Interpreter


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "m.tflite"
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 3)(image))
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype("float32")
    qmodel = mq.calibrate(mq.quantize(model), images, verbose=0)
    tflite_tools.convert(qmodel, path, check=False)
    return path


def run(capsys, *words):
    """Exit code, JSON or None, and stderr of one call."""
    capsys.readouterr()
    code = main(["benchmark", *map(str, words), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else None, captured.err


def test_both_runtimes_with_given_input_and_a_plot(file, tmp_path, capsys):
    (port,) = Interpreter(file.read_bytes()).inputs
    np.savez(tmp_path / "x.npz", **{port.name: np.zeros((2, 8, 8, 3), "float32")})
    words = [file, "--both", "--runs", 3, "--threads", 2, "--profile"]
    words += ["--input", tmp_path / "x.npz"]
    code, result, _ = run(capsys, *words, "--plot", tmp_path / "m.png")
    assert code == 0 and result["threads"] == 2 and result["xnnpack"] == "both"
    assert [entry["runtime"] for entry in result["files"]] == ["XNNPACK", "built-in kernels"]
    assert result["files"][0]["memory"] > result["files"][0]["memory_added"] > 0
    assert all(entry["operators"] for entry in result["files"])
    assert (tmp_path / "m.png").read_bytes()[1:4] == b"PNG"


def test_a_program_of_litert(file, tmp_path, capsys):
    program = tmp_path / "benchmark_model"
    lines = ["count=7 first=9 curr=5 min=4 max=9 avg=5000 std=1000"] * 2
    lines += ["Inference timings in us: Init: 10, First inference: 9, Warmup (avg): 5"]
    program.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in lines))
    program.chmod(0o755)
    code, result, _ = run(capsys, file, "--binary", program, "--profile")
    (entry,) = result["files"]
    assert code == 0 and (entry["mean"], entry["runs"]) == (5, 7)
    assert entry["operators"] is None and "printed none" in result["profile_note"]


def test_what_makes_no_sense(file, tmp_path, capsys):
    (tmp_path / "text.npy").write_text("no array")
    cases = [
        (["--serial", "R5CR"], "--serial needs --adb"),
        (["--binary", "b", "--input", "x.npy"], "leave --input out"),
        (["--binary", "none"], "none: there is no such file"),
        (["--binary", "b", "--adb", "b"], "not allowed with"),
        (["--no-xnnpack", "--both"], "not allowed with"),
        (["--input", tmp_path / "text.npy"], "text.npy is no array that NumPy can read"),
        (["--plot", "m.jpg"], "m.jpg must end in .png"),
        (["--delegate", "libnone.so"], "delegate libnone.so"),
    ]
    for words, message in cases:
        code, result, err = run(capsys, file, *words)
        assert code == 2 and message in err and result is None, (words, err)
