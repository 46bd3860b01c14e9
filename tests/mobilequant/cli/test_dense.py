"""Segmentation and detection on the command line, from training to pictures."""

import base64
import io
import json
import re
import zipfile

import dense_folders
import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from mobilequant.cli import main

SIZE = 32


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Six images of noise with boxes and masks."""
    root = tmp_path_factory.mktemp("data") / "voc"
    dense_folders.voc_folder(root)
    dense_folders.voc_masks(root)
    (root / "names.txt").write_text("dog\ncar\n")
    return root


def small_backbone():
    """A functional model of one feature map at 1/4 of the image."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.ReLU(max_value=6)(x), name="small")


def run(*words):
    """One call that must succeed."""
    assert main([str(word) for word in words]) == 0


def result_of(capsys, *words):
    """The JSON of one call."""
    capsys.readouterr()
    run(*words, "--json")
    return json.loads(capsys.readouterr().out)


def make(folder, task, data):
    """Trains a small model, quantizes and converts it, all by the command."""
    run("train", "--model", folder / "start.keras", *data, "--epochs", 1, "--batch-size", 2,
        "--validation", 0.5, "-o", folder / "float.keras")  # fmt: skip
    run("quantize", folder / "float.keras", "-o", folder / "q.keras", *data)
    run("convert", folder / "q.keras", "-o", folder / "q.tflite", *data, "--images", 1)
    return folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory, voc):
    """A folder with a detector of two classes: float, quantized, and its file."""
    from mobilequant.models import SSDLite

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("detector")
    SSDLite(small_backbone(), 2, extra_filters=(8,)).save(folder / "start.keras")
    return make(folder, "detection", ["--data", voc, "--class-names", voc / "names.txt"])


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory, voc):
    """A folder with a segmentation of VOC's classes: float, quantized, and its file."""
    from mobilequant.models import RASPP

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("segmentation")
    RASPP(small_backbone(), 21, filters=8).save(folder / "start.keras")
    return make(folder, "segmentation", ["--data", voc])


def test_the_models_task_decides_how_data_is_read(detector, segmentation, voc, capsys):
    verify = ["verify", detector / "q.keras", detector / "q.tflite", "--data", voc]
    found = result_of(capsys, *verify, "--class-names", voc / "names.txt")
    assert found["contract"] and found["images"] == 2
    assert [output["equal"] for output in found["outputs"]] == [1.0, 1.0]
    assert 0 <= found["file_map"] <= found["file_map_50"] <= 1

    verify = ["verify", segmentation / "q.keras", segmentation / "q.tflite", "--data", voc]
    found = result_of(capsys, *verify)
    assert found["contract"] and 0 <= found["file_mean_iou"] <= 1


def test_further_training_of_a_quantized_detector(detector, voc, tmp_path, capsys):
    output = tmp_path / "tuned.keras"
    data = ["--data", voc, "--class-names", voc / "names.txt"]
    line = ["train", "--model", detector / "q.keras", *data, "--epochs", 2, "--freeze-epochs", 1]
    result = result_of(capsys, *line, "-o", output)
    assert result["quantized"] and result["task"] == "detection"
    assert 0 <= result["test_map"] <= result["test_map_50"] <= 1
    with zipfile.ZipFile(output) as archive, archive.open("model.weights.h5") as weights:
        # Its step and its rate: no moments, which would be twice the weights.
        assert len(h5py.File(io.BytesIO(weights.read()))["optimizer/vars"]) <= 2


def test_boxes_of_model_and_file_are_the_same(detector, voc, tmp_path, capsys):
    photograph = tmp_path / "photograph.png"
    dense_folders.save_image(photograph, 90, 140, seed=5)
    names = ["--labels", voc / "names.txt", "--score", 0.2]
    pictures = tmp_path / "pictures"
    of_model = result_of(
        capsys, "predict", detector / "q.keras", photograph, *names, "-o", pictures
    )
    of_file = result_of(
        capsys, "predict", detector / "q.tflite", photograph, *names, "--keras",
        detector / "q.keras",
    )  # fmt: skip
    (image,) = of_model["images"]
    assert of_model["task"] == "detection" and image["size"] == [90, 140]
    assert image["detections"] == of_file["images"][0]["detections"] and image["detections"]
    for item in image["detections"]:
        top, left, bottom, right = item["box"]
        assert 0 <= top <= bottom <= 90 and 0 <= left <= right <= 140
        assert item["name"] in ("dog", "car") and item["score"] > 0.2
    assert image["picture"] == str(pictures / "photograph_boxes.png")
    with Image.open(image["picture"]) as picture, Image.open(photograph) as before:
        assert picture.size == before.size
        assert np.any(np.asarray(picture) != np.asarray(before))


def test_a_file_that_ends_in_boxes(detector, voc, tmp_path, capsys):
    """The boxes are those that the model finds with the same settings."""
    file, photograph = tmp_path / "boxes.tflite", tmp_path / "photograph.png"
    dense_folders.save_image(photograph, 90, 140, seed=5)
    settings = ["--max-detections", 50, "--score-threshold", 0.2, "--iou-threshold", 0.6]
    convert = ["convert", detector / "q.keras", "-o", file, "--postprocess", *settings]
    report = result_of(capsys, *convert)
    assert report["operators"]["TFLite_Detection_PostProcess"] == 1
    assert report["output_types"] == ["float32"] * 4
    run(*convert, "--fast-nms")
    assert "int8 in, float32 out" in capsys.readouterr().out

    run(*convert)
    names = ["--labels", voc / "names.txt", "--score", 0.3]
    one, other = (
        result_of(capsys, "predict", model, photograph, *names, *more)["images"][0]["detections"]
        for model, more in ((file, []), (file, ["--keras", detector / "q.keras"]))
    )
    assert one == other and {item["name"] for item in one} <= {"dog", "car"}
    assert all(item["score"] > 0.3 for item in one)

    data = ["--data", voc, "--class-names", voc / "names.txt"]
    verified = result_of(capsys, "verify", detector / "q.keras", file, *data, "--layers")
    assert verified["contract"] and verified["detections"] > 0
    assert verified["first_difference"] is None and 0 <= verified["file_map"] <= 1


def test_errors_of_postprocessing(detector, segmentation, tmp_path, capsys):
    output = ["-o", tmp_path / "m.tflite"]
    convert = ["convert", detector / "q.keras", *output]
    fails(capsys, [*convert, "--max-detections", 5], ["--max-detections needs --postprocess"])
    fails(capsys, [*convert, "--fast-nms"], ["--fast-nms needs --postprocess"])
    fails(capsys, [*convert, "--postprocess", "--iou-threshold", 0], ["iou_threshold"])
    other = ["convert", segmentation / "q.keras", *output, "--postprocess"]
    fails(capsys, other, ["q.keras is no detector"])
    assert not list(tmp_path.iterdir())


def test_masks_of_model_and_file_are_the_same(segmentation, voc, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    line = ["predict", segmentation / "q.keras", voc / "JPEGImages", "-o", pictures]
    of_model = result_of(capsys, *line)
    assert len(of_model["images"]) == 6 == len(list(pictures.iterdir()))
    for image in of_model["images"]:
        assert sum(item["share"] for item in image["classes"]) == pytest.approx(1)
    of_file = result_of(
        capsys, "predict", segmentation / "q.tflite", voc / "JPEGImages", "--data", voc
    )
    assert of_file["images"][0]["classes"][0]["name"] in ("background", "bottle", "bird", "boat")
    for one, other in zip(of_model["images"], of_file["images"], strict=True):
        numbers = [(item["class"], item["share"]) for item in one["classes"]]
        assert numbers == [(item["class"], item["share"]) for item in other["classes"]]


def pages_pictures(page):
    """Sizes of all pictures of a report, in order."""
    encoded = re.findall(r"data:image/jpeg;base64,([^\"]+)", page.read_text("utf-8"))
    return [Image.open(io.BytesIO(base64.b64decode(content))).size for content in encoded]


def test_reports_show_boxes_and_masks(detector, segmentation, voc, tmp_path, capsys):
    page = tmp_path / "page.html"
    short = ["--no-layer-errors", "--runs", 1, "-o", page]
    line = [detector / "q.keras", detector / "q.tflite", "--float", detector / "float.keras"]
    data = ["--data", voc, "--class-names", voc / "names.txt"]
    found = result_of(capsys, "report", *line, *data, "--examples", 1, *short)
    assert found["contract"] and found["output"] == str(page)
    assert [measure["name"] for measure in found["measures"]] == ["mAP@0.5", "mAP@0.5:0.95"]
    assert all(set(m["values"]) == {"float model", "the file"} for m in found["measures"])
    (example,) = found["examples"]
    of_file = example["views"][1]["predictions"]
    assert all(item["name"] in ("dog", "car") and item["score"] > 0.3 for item in of_file)
    assert pages_pictures(page) == [(320, 320)] * 2  # float and file

    # A file that decodes its boxes itself.
    boxes = tmp_path / "boxes.tflite"
    run("convert", detector / "q.keras", "-o", boxes, "--postprocess")
    found = result_of(capsys, "report", detector / "q.keras", boxes, *data, *short)
    assert found["contract"] and found["measures"][0]["values"]["the file"] is not None
    assert "TFLite_Detection_PostProcess" in page.read_text("utf-8")

    line = [segmentation / "q.keras", segmentation / "q.tflite", "--data", voc]
    found = result_of(capsys, "report", *line, *short)
    assert [measure["name"] for measure in found["measures"]] == ["mean IoU"]
    assert len(found["examples"]) == 2  # as many as there are test images
    for width, height in pages_pictures(page):
        assert width >= 320 and height > 320  # a legend below


def fails(capsys, *words_and_parts):
    """A call that must fail with one line that holds all parts; the words come first."""
    words, parts = words_and_parts
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert captured.out == "" and len(lines) == 1, captured
    for part in parts:
        assert part in lines[0]


def test_errors_of_predict(detector, segmentation, voc, tmp_path, capsys):
    text, image = tmp_path / "text.jpg", voc / "JPEGImages" / "000.png"
    text.write_text("no image")
    model, file, out = detector / "q.keras", detector / "q.tflite", tmp_path / "out"
    fails(capsys, ["predict", "none.keras", image], ["none.keras", "no such file"])
    fails(capsys, ["predict", model, "none.png"], ["none.png", "no such file"])
    fails(capsys, ["predict", model, text], ["text.jpg", "no image"])
    fails(capsys, ["predict", model, voc / "Annotations"], ["Annotations", "no images"])
    fails(capsys, ["predict", image, image], ["000.png", ".keras or .tflite"])
    fails(capsys, ["predict", model, image, "-o", text], ["text.jpg", "folder"])
    fails(capsys, ["predict", model, image, "--keras", model], ["--keras", ".tflite"])
    fails(capsys, ["predict", model, image], ["detection", "--output"])
    fails(capsys, ["predict", file, image, "-o", out], ["q.tflite", "--keras"])
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\nthree\n")
    line = ["predict", model, image, "-o", out, "--labels", names]
    fails(capsys, line, ["2 classes", "3 names"])
    other = ["predict", file, image, "-o", out, "--keras", segmentation / "q.keras"]
    fails(capsys, other, ["q.tflite", "--keras"])
    assert not list(out.glob("*"))


def test_errors_of_training(detector, voc, tmp_path, capsys):
    train = ["train", "-o", tmp_path / "m.keras", "--data", voc]
    dense = [*train, "--task", "segmentation"]
    fails(capsys, [*train, "--backbone", "MobileNetV2"], ["--backbone", "classification"])
    fails(capsys, [*dense, "--head", "ssdlite"], ["ssdlite", "lraspp or raspp"])
    fails(capsys, [*dense, "--weights", "w.h5"], ["--weights", "segmentation"])
    fails(capsys, [*dense, "--model", "MobileNetV1"], ["--backbone MobileNetV1"])
    fails(capsys, [*dense, "--model", detector / "q.keras", "--head", "raspp"], ["--head"])
    fails(capsys, [*dense, "--model", detector / "q.keras"], ["q.keras", "21 classes"])
    # The data set has 20 classes, since its names are not given.
    fails(capsys, [*train, "--model", detector / "q.keras"], ["2 classes", "20"])
    names = [*train, "--model", detector / "q.keras", "--class-names"]
    fails(capsys, [*names, voc / "none.txt"], ["none.txt"])
    fails(capsys, [*names, voc / "JPEGImages" / "000.png"], ["000.png", "no text"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_train_makes_a_mobilenet_with_a_head(task, voc, tmp_path, capsys):
    output = tmp_path / "m.keras"
    model = "--image-size 64 --alpha 0.35 --backbone MobileNetV3Small --output-stride 16"
    result = result_of(
        capsys, "train", "--task", task, "--data", voc, "--epochs", 1, *model.split(), "-o", output
    )
    assert result["task"] == task and result["size"] == output.stat().st_size
    name = {"segmentation": "test_mean_iou", "detection": "test_map_50"}[task]
    assert result[name] is None or 0 <= result[name] <= 1
    assert keras.models.load_model(output).input_shape == (None, 64, 64, 3)


def test_outputs_of_tflites_post_processing():
    from mobilequant.cli.tasks import detection

    class File:
        outputs = [None] * 4

    # Boxes, classes, scores and their number, as TFLite_Detection_PostProcess gives them.
    outputs = [
        np.array([[[-0.1, 0.0, 0.5, 0.5], [0.2, 0.2, 0.4, 0.4], [0, 0, 0, 0]]], "float32"),
        np.array([[1.0, 0.0, 0.0]], "float32"),
        np.array([[0.9, 0.4, 0.0]], "float32"),
        np.array([2.0], "float32"),
    ]
    reader = detection.Reader(None, File(), ("dog", "car"), "m.tflite", score=0.5)
    found = reader.read(outputs, Image.new("RGB", (20, 10))).result["detections"]
    assert found == [{"class": 1, "name": "car", "score": 0.9, "box": [0.0, 0.0, 5.0, 10.0]}]
