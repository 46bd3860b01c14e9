"""Bad input: exit code 2 and one line that names the thing; what was there stays."""

import os

import keras
import pytest

from mobilequant.cli import files, main


@pytest.fixture(scope="module")
def float_model(tmp_path_factory):
    """A float classifier of ten classes on 16×16 images."""
    return save_tiny(tmp_path_factory.mktemp("models") / "float.keras", 10)


def save_tiny(path, classes):
    """Writes a small classifier."""
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3), keras.layers.ReLU()]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes, "softmax")]
    keras.Sequential(layers, name="tiny").save(path)
    return path


def fails(capsys, line, *parts, **paths):
    """Runs a command line that must fail with one line holding all `parts`."""
    capsys.readouterr()
    words = [word.format(**paths) for word in line.split()]
    assert main(words) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert captured.out == "" and len(lines) == 1, captured
    assert lines[0].startswith("mobilequant: error: ")
    for part in parts:
        assert part in lines[0]


def test_usage(capsys):
    fails(capsys, "trane", "trane")
    fails(capsys, "train -o m.keras", "--data")
    fails(capsys, "calibrate q.keras -o o.keras", "minmax", "--data")
    fails(capsys, "calibrate q.keras --method data_free --data digits -o o.keras", "no --data")
    fails(capsys, "train --data digits -o m.keras --epochs none", "--epochs", "none")
    fails(capsys, "train --data digits -o m.keras --image-size 16x", "--image-size")
    fails(capsys, "train --data digits -o m.keras --model ResNet", "ResNet", "mobilequant models")
    fails(capsys, "train --data digits -o m.keras --estimator ste", "--estimator", "--quantize")
    fails(capsys, "train --data digits -o m.keras --freeze-epochs 1", "--quantize")
    fails(
        capsys,
        "train --data digits -o m.keras --quantize w8a8 --epochs 2 --freeze-epochs 2",
        "--freeze-epochs 2",
    )


@pytest.mark.parametrize(
    "line",
    [
        "quantize {none} -o {out}",
        "calibrate {none} --data digits -o {out}",
        "sensitivity {none} --data digits",
        "convert {none} -o {file}",
        "verify {none} {file} --data digits",
        "train --model {none} --data digits -o {out}",
    ],
)
def test_missing_model(capsys, tmp_path, line):
    out, file = tmp_path / "out.keras", tmp_path / "out.tflite"
    fails(capsys, line, "none.keras", "no such file", none="none.keras", out=out, file=file)
    assert not list(tmp_path.iterdir())


def test_files_that_are_something_else(capsys, tmp_path):
    text, cut = tmp_path / "text.tflite", tmp_path / "cut.keras"
    text.write_text("This is no TensorFlow Lite file.")
    cut.write_bytes(b"PK\x03\x04 cut short")
    fails(capsys, "inspect {p}", "text.tflite", p=text)
    fails(capsys, "benchmark {p}", "text.tflite", p=text)
    fails(capsys, "inspect {p}", "cut.keras", "not a TFLite file", p=cut)
    fails(capsys, "quantize {p} -o {o}", "cut.keras", p=cut, o=tmp_path / "o.keras")


def test_data(capsys, tmp_path, float_model):
    out = tmp_path / "out.keras"
    fails(capsys, "train --data cifar11 -o {o}", "cifar11", o=out)
    fails(capsys, "train --data ./nowhere -o {o}", "nowhere", o=out)
    two = tmp_path / "two"
    for name in ("cat", "dog"):
        (two / name).mkdir(parents=True)
        for i in range(5):
            keras.utils.save_img(two / name / f"{i}.png", keras.ops.zeros((8, 8, 3)))
    line = "train --model {m} --data {d} -o {o}"
    fails(capsys, line, "float.keras", "2 classes", m=float_model, d=two, o=out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two"]


def test_an_image_that_cannot_be_read(capsys, tmp_path):
    model, data, out = tmp_path / "two.keras", tmp_path / "two", tmp_path / "out.keras"
    save_tiny(model, 2)
    for part in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (data / part).mkdir(parents=True)
        keras.utils.save_img(data / part / "good.png", keras.ops.zeros((8, 8, 3)))
    bad = data / "train" / "dog" / "bad.png"
    bad.write_text("no image")
    assert main(["train", "--model", str(model), "--data", str(data), "-o", str(out)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"mobilequant: error: {bad} is no image")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two", "two.keras"]


def test_a_model_has_its_own_size(capsys, tmp_path, float_model):
    line = "train --model {m} --data digits --image-size 32 -o {o}"
    fails(capsys, line, "--image-size", "float.keras", m=float_model, o=tmp_path / "o.keras")


def test_models_that_do_not_fit(capsys, tmp_path, float_model):
    paths = {"m": float_model, "o": tmp_path / "o.keras", "f": tmp_path / "o.tflite"}
    paths["f"].write_bytes(b"1234TFL3, the former one")
    fails(capsys, "calibrate {m} --data digits -o {o}", "float.keras", "not a quantized", **paths)
    fails(capsys, "convert {m} -o {f}", "float.keras", "not a quantized model", **paths)
    fails(capsys, "verify {m} {f} --data digits", "float.keras", "not a quantized", **paths)
    fails(capsys, "sensitivity {m} --data digits", "float.keras", "not a quantized", **paths)
    fails(capsys, "sensitivity {m} --data digits --plot x.gif", "x.gif", ".png", **paths)
    fails(capsys, "quantize {m} -o {o} --recipe w9a9", "w9a9", **paths)
    fails(capsys, "quantize {m} -o {o} --calibrate 5", "--data", **paths)
    assert paths["f"].read_bytes() == b"1234TFL3, the former one" and not paths["o"].exists()


def test_outputs_that_cannot_be_written(capsys, tmp_path, float_model):
    quantize = "quantize {m} -o {o}"
    fails(capsys, quantize, "nowhere", m=float_model, o=tmp_path / "nowhere" / "q.keras")
    fails(capsys, quantize, "q.h5", ".keras", m=float_model, o=tmp_path / "q.h5")
    fails(capsys, "train --data digits -o {o}", "folder", o=tmp_path / "nowhere" / "m.keras")
    (tmp_path / "d.keras").mkdir()
    fails(capsys, quantize, "d.keras", "folder", m=float_model, o=tmp_path / "d.keras")
    (tmp_path / "file").write_text("")
    fails(capsys, "demo --output {o}", "file", o=tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(capsys, tmp_path, float_model):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    fails(capsys, "quantize {m} -o {o}", "locked", m=float_model, o=folder / "q.keras")


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        main(["quantize", "none.keras", "-o", str(tmp_path / "q.keras"), "--debug"])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_writing_is_all_or_nothing(tmp_path, stop):
    path = tmp_path / "m.keras"
    path.write_bytes(b"former")
    with pytest.raises(stop), files.written_whole(path) as temporary:
        temporary.write_bytes(b"half")
        raise stop
    assert path.read_bytes() == b"former" and list(tmp_path.iterdir()) == [path]


def test_ctrl_c_while_a_model_is_written(capsys, tmp_path, float_model, monkeypatch):
    output = tmp_path / "q.keras"
    output.write_bytes(b"former")

    def save(self, path, *_, **__):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "save", save)
    assert main(["quantize", str(float_model), "-o", str(output)]) == 130
    assert capsys.readouterr().err == "mobilequant: interrupted\n"
    assert output.read_bytes() == b"former" and list(tmp_path.iterdir()) == [output]
