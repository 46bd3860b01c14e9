"""`mobilequant report` of a classifier: the page, the figures, the exit code, what is refused."""

import base64
import hashlib
import io
import json
import re

import keras
import numpy as np
import pytest
from PIL import Image

from mobilequant.cli import main


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a float model, a calibrated one, its file, and the file of another model."""
    folder = tmp_path_factory.mktemp("made")
    for name, seed in (("", 0), ("other", 1)):
        save_tiny(folder / f"{name}float.keras", seed)
        quantize = ["quantize", folder / f"{name}float.keras", "-o", folder / f"{name}q.keras"]
        assert main([*map(str, quantize), "--data", "digits", "--calibrate", "40"]) == 0
    convert = ["convert", folder / "q.keras", "-o", folder / "q.tflite"]
    assert main([*map(str, convert)]) == 0
    return folder


def save_tiny(path, seed):
    """Writes a small float classifier of the digits with random weights, on 16×16 grey images."""
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((16, 16, 1)), keras.layers.Conv2D(8, 3, strides=2)]
    layers += [keras.layers.ReLU(max_value=6), keras.layers.GlobalAveragePooling2D()]
    layers += [keras.layers.Dense(10), keras.layers.Softmax()]
    keras.Sequential(layers, name="tiny").save(path)


def result_of(capsys, *words, code=0):
    """The JSON of one call, and what it said on stderr."""
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


@pytest.fixture(scope="module")
def limited():
    """A short run on the digits."""
    return ["--data", "digits", "--limit", 20, "--runs", 1]


def test_of_model_and_file(made, limited, tmp_path, capsys):
    page = tmp_path / "page.html"
    models = [made / "q.keras", made / "q.tflite", "--float", made / "float.keras"]
    found, err = result_of(capsys, "report", *models, *limited, "--examples", 3, "-o", page)
    assert "20 images" in err and found["contract"] and found["agreement"]["images"] == 20
    assert found["output"] == str(page) and found["target"] == "phone"
    assert "w8a8" in found["recipe"] and "8 bits" in found["recipe"]
    (accuracy,) = found["measures"]
    assert set(accuracy["values"]) == {"float model", "the file"}
    html = page.read_text("utf-8")
    for name in ("q.keras", "q.tflite", "float.keras"):
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() in html
    assert f"by Keras {keras.__version__}" in found["origin"]["Quantized model"]
    assert {layer["kind"] for layer in found["sensitivity"]["layers"]} >= {"Conv2D", "Dense"}
    # The first, the middle and the last of the test images, as the model sees them.
    titles = [example["title"] for example in found["examples"]]
    assert titles[0] == "test image 1" and titles[2] == "test image 20"
    assert all(len(view["predictions"]) == 3 for view in found["examples"][0]["views"])
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", html)
    assert len(pictures) == 3
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert picture.size == (16, 16) and len(np.unique(np.asarray(picture))) > 5


def test_example_predictions_are_those_of_the_model(made, limited, capsys):
    from mobilequant.data import load_classification

    found, _ = result_of(
        capsys, "report", made / "q.keras", made / "q.tflite", *limited, "--no-layer-errors"
    )
    assert found["sensitivity"] is None and len(found["examples"]) == 6
    data = load_classification("digits", image_size=16, channels=1, limit=20)
    images, labels = next(data.test.as_numpy_iterator())
    model = keras.models.load_model(made / "q.keras")
    scores = np.asarray(model(images, training=False))
    assert found["measures"][0]["values"]["the file"] == np.mean(scores.argmax(-1) == labels)
    for example in found["examples"]:
        place = int(example["title"].split()[-1]) - 1
        assert example["truth"] == data.class_names[labels[place]]
        best = example["views"][0]["predictions"][0]
        assert best["name"] == data.class_names[scores[place].argmax()]
        assert best["score"] == scores[place].max()


def test_of_the_file_alone(made, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["report", str(made / "q.tflite"), "-o", str(page), "--runs", "1"]) == 0
    assert capsys.readouterr().out.strip() == f"{page}: {page.stat().st_size:,} bytes"
    assert "Not compared" in page.read_text("utf-8")


def test_exit_code_1_where_the_contract_is_broken(made, limited, tmp_path, capsys):
    page, broken = tmp_path / "page.html", tmp_path / "broken.keras"
    model = keras.models.load_model(made / "q.keras")
    kernel = next(w for w in model.trainable_weights if w.path.endswith("kernel"))
    kernel.assign(-kernel)
    model.save(broken)
    line = ["report", broken, made / "q.tflite", *limited, "--no-layer-errors", "-o", page]
    found, err = result_of(capsys, *line, "--examples", 0, code=1)
    assert not found["contract"] and found["examples"] == []
    assert "q.tflite breaks the contract" in err
    assert "Breaks the contract" in page.read_text("utf-8")


def test_errors(made, tmp_path, capsys):
    def fails(line, *parts):
        capsys.readouterr()
        assert main(["report", *map(str, line)]) == 2
        captured = capsys.readouterr()
        lines = captured.err.strip().splitlines()
        assert captured.out == "" and len(lines) == 1, captured
        assert all(part in lines[0] for part in parts), lines

    model, file, page = made / "q.keras", made / "q.tflite", tmp_path / "page.html"
    fails([file], "-o PAGE.html", "--json")
    fails([model], "q.keras: not a TFLite file")
    fails([model, file, "-o", page], "--data")
    fails([file, "--data", "digits", "-o", page], "Q.keras M.tflite")
    fails([file, "--float", model, "-o", page], "--float needs --data")
    fails([file, "--limit", 3, "-o", page], "--limit needs --data")
    fails([file, "-o", tmp_path / "page.pdf"], "page.pdf", ".html")
    fails([file, "-o", tmp_path / "none" / "page.html"], "no folder")
    data = ["--data", "digits", "-o", page]
    fails([made / "float.keras", file, *data], "float.keras", "not a quantized model")
    other = tmp_path / "wide.keras"
    keras.Sequential([keras.Input((20, 20, 1)), keras.layers.Flatten()]).save(other)
    fails([model, file, "--float", other, *data], "wide.keras", "(None, 20, 20, 1)")
    # That it is another model's file is known when the images are there.
    assert main(["report", *map(str, [made / "otherq.keras", file, *data])]) == 2
    assert "q.tflite: no inner tensor is named as in the model" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["wide.keras"]
