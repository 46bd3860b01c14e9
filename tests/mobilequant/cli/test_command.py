"""The subcommands from end to end on a few digits, and what they print."""

import json

import keras
import pytest

from mobilequant.cli import commands, main
from mobilequant.quantize.state import PHASES, quantized_layers


def save_tiny(path, seed=0):
    """Writes a small float classifier of the digits with random weights."""
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(8, 3, strides=2, use_bias=False)]
    layers += [keras.layers.BatchNormalization(), keras.layers.ReLU(max_value=6)]
    layers += [keras.layers.DepthwiseConv2D(3), keras.layers.GlobalAveragePooling2D()]
    layers += [keras.layers.Dense(10, activation="softmax")]
    keras.Sequential(layers, name="tiny").save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a float model, a calibrated one and its file, made by the command."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "float.keras")
    quantize = ["quantize", folder / "float.keras", "-o", folder / "q.keras"]
    assert main([*map(str, quantize), "--data", "digits", "--calibrate", "40"]) == 0
    assert main(["convert", str(folder / "q.keras"), "-o", str(folder / "q.tflite")]) == 0
    return folder


def quantizers_of(path):
    """The activation quantizers of a saved model."""
    model = keras.models.load_model(path)
    return [quantizer for layer in quantized_layers(model) for quantizer in layer.quantizers]


def run(capsys, *arguments):
    """Exit code, JSON result and stderr of one call."""
    capsys.readouterr()
    code = main([str(argument) for argument in (*arguments, "--json")])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def test_every_command_explains_itself_with_examples(capsys):
    for name, command in commands.COMMANDS.items():
        assert main([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"mobilequant {name}" in command.EXAMPLES
        assert command.EXAMPLES in text and "--debug" in text and text.isascii()
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n    {name}" in listed for name in commands.COMMANDS)


def test_tables_of_the_parser_are_those_of_the_library():
    from mobilequant import models, targets
    from mobilequant.cli import arguments, tasks
    from mobilequant.cli.commands import calibrate, train
    from mobilequant.quantize import calibration, reconstruction
    from mobilequant.quantizers.scheme import ESTIMATORS
    from mobilequant.training import fit

    assert set(arguments.INTERFACES) == {i for t in targets.TARGETS.values() for i in t.interfaces}
    assert arguments.ESTIMATORS == ESTIMATORS
    assert arguments.TASKS == tuple(tasks.TASKS) == tuple(train.NEW_MODEL)
    for task, options in train.NEW_MODEL.items():
        assert options["image_size"] == (tasks.TASKS[task].IMAGE_SIZE,) * 2
    assert train.HEADS["segmentation"] == tuple(tasks.segmentation.HEADS)
    assert calibrate.METHODS == calibration.METHODS
    assert calibrate.STEPS == reconstruction.STEPS
    assert set(train.MODELS) == set(models.GARDEN) and train.DEFAULT_MODEL in train.MODELS
    assert set(train.OPTIMIZERS) == set(fit.LEARNING_RATES)


def test_train_makes_a_mobilenet(tmp_path, capsys):
    output = tmp_path / "m.keras"
    model = "--image-size 16 --alpha 0.35 --early-strides 2 2"
    line = f"train --data digits --limit 64 --validation 0.25 --epochs 1 {model} -o {output}"
    code, result, err = run(capsys, *line.split())
    assert code == 0 and result["path"] == str(output) and result["size"] == output.stat().st_size
    assert result["sizes"] == {"train": 64, "validation": 64, "test": 64}
    assert not result["quantized"] and 0 <= result["test_accuracy"] <= 1
    assert "epoch 1/1" in err and "validation accuracy" in err
    assert list(tmp_path.iterdir()) == [output]  # no backup, nothing temporary
    model = keras.models.load_model(output)
    assert model.name == "mobilenetv2_0.35_16" and model.optimizer is not None
    assert model.input_shape == (None, 16, 16, 3) and model.output_shape == (None, 10)


def test_quantize_without_data_leaves_the_ranges_open(made, tmp_path, capsys):
    arguments = ["quantize", made / "float.keras", "-o", tmp_path / "q.keras"]
    code, result, _ = run(capsys, *arguments, "--recipe", "w4a8", "--target", "edgetpu")
    assert code == 0 and result["calibration_images"] == 0
    assert (result["recipe"], result["target"]) == ("w4a8", "edgetpu")

    assert main(["convert", str(tmp_path / "q.keras"), "-o", str(tmp_path / "q.tflite")]) == 2
    assert "calibrate" in capsys.readouterr().err
    assert not (tmp_path / "q.tflite").exists()

    calibrated = tmp_path / "c.keras"
    code, result, err = run(
        capsys, "calibrate", tmp_path / "q.keras", "--data", "digits", "--images", 37, "-o",
        calibrated, "--method", "moving_average",
    )  # fmt: skip
    assert code == 0 and result["calibration_images"] == 37 and "37 images" in err
    assert calibrated.is_file()
    line = ["calibrate", tmp_path / "q.keras", "--method", "data_free", "-o", calibrated]
    code, result, err = run(capsys, *line)
    assert code == 0 and result["calibration_images"] == 0 and "without data" in err
    assert all(q.calibrated for q in quantizers_of(calibrated))


def test_calibrate_rounds_weights_block_by_block(made, tmp_path, capsys):
    path, rounded = tmp_path / "q.keras", tmp_path / "r.keras"
    run(capsys, "quantize", made / "float.keras", "-o", path, "--recipe", "w4a8")
    line = ["calibrate", path, "--data", "digits", "--images", 24, "-o", rounded]
    code, result, err = run(capsys, *line, "--reconstruct", "--steps", 2)
    assert code == 0 and result["reconstruct"] == 2 and "block by block, on 24 images" in err
    assert main(["convert", str(rounded), "-o", str(tmp_path / "r.tflite")]) == 0
    capsys.readouterr()
    assert main([*map(str, line), "--reconstruct", "--batch-norm"]) == 2
    assert "leave out --batch-norm" in capsys.readouterr().err
    line = ["calibrate", path, "--method", "data_free", "-o", rounded, "--reconstruct"]
    assert main([*map(str, line)]) == 2
    assert "--reconstruct needs images" in capsys.readouterr().err
    assert main(["calibrate", str(path), "--data", "digits", "-o", "x.keras", "--steps", "3"]) == 2
    assert "--steps goes with --reconstruct" in capsys.readouterr().err


def test_sensitivity(made, tmp_path, capsys):
    plot = tmp_path / "costs.png"
    line = ["sensitivity", made / "q.keras", "--data", "digits", "--images", "20"]
    code, result, err = run(capsys, *line, "--accuracy", "--plot", plot)
    assert code == 0 and "20 images" in err and result["images"] == 20
    errors = [layer["error"] for layer in result["layers"]]
    assert errors == sorted(errors, reverse=True) and len(errors) == 5
    assert 0 <= result["metric_whole"] <= 1 and plot.read_bytes()[1:4] == b"PNG"
    line += ["--mode", "except", "--part", "weights", "--top", "1"]
    assert main([str(word) for word in line]) == 0
    text = capsys.readouterr().out
    assert "left in float alone" in text and "weights only" in text and "and 2 more" in text


def test_a_mixed_file_from_end_to_end(made, tmp_path, capsys):
    qmodel, file = tmp_path / "q.keras", tmp_path / "mixed.tflite"
    head = keras.models.load_model(made / "float.keras").layers[-1].name
    code, _, _ = run(
        capsys, "quantize", made / "float.keras", "-o", qmodel, "--leave-float", head,
        "--data", "digits", "--calibrate", "16",
    )  # fmt: skip
    assert code == 0
    assert main(["convert", str(qmodel), "-o", str(file)]) == 2
    assert "allow_float=True" in capsys.readouterr().err and not file.exists()
    code, report, _ = run(capsys, "convert", qmodel, "-o", file, "--allow-float")
    assert code == 0 and report["float_layers"] == [head] and report["float_operators"]
    code, result, _ = run(capsys, "verify", qmodel, file, "--data", "digits", "--limit", "16")
    assert code == 0 and result["contract"] and result["outputs"][0]["kind"] == "FLOAT"
    code, found, _ = run(capsys, "inspect", file)
    assert code == 0 and found["outputs"][0]["dtype"] == "FLOAT32"
    code, _, _ = run(capsys, "benchmark", file, "--runs", "2")
    assert code == 0


def test_convert_verify_inspect_and_benchmark(made, tmp_path, capsys):
    file = tmp_path / "q.tflite"
    code, result, _ = run(
        capsys, "convert", made / "q.keras", "-o", file, "--interface", "uint8", "--data", "digits",
        "--images", 5,
    )  # fmt: skip
    assert code == 0 and result["interface"] == "uint8" and result["operators"]["QUANTIZE"] == 2
    assert result["agreement"]["images"] == 5

    verify = ["verify", made / "q.keras", file, "--data", "digits", "--limit", 20]
    code, result, _ = run(capsys, *verify)
    assert code == 0 and result["contract"] and result["images"] == 20
    assert result["logits"]["equal"] == 1.0 and 0 <= result["file_accuracy"] <= 1

    code, result, _ = run(capsys, "inspect", file)
    assert code == 0 and result["float_tensors"] == []

    code, result, _ = run(capsys, "benchmark", file, made / "q.tflite", "--runs", 3)
    assert code == 0 and [entry["runs"] for entry in result["files"]] == [3, 3]


def test_results_for_people(made, capsys):
    assert main(["inspect", str(made / "q.tflite")]) == 0
    assert "DEPTHWISE_CONV_2D" in capsys.readouterr().out
    verify = ["verify", str(made / "q.keras"), str(made / "q.tflite"), "--data", "digits"]
    assert main([*verify, "--limit", "4"]) == 0
    assert "the contract holds" in capsys.readouterr().out


def test_verify_exits_with_1_where_the_file_is_of_another_model(made, tmp_path, capsys):
    q, f = tmp_path / "q.keras", tmp_path / "other.keras"
    save_tiny(f, seed=1)
    assert main(["quantize", str(f), "-o", str(q), "--data", "digits", "--calibrate", "40"]) == 0
    verify = ["verify", q, made / "q.tflite", "--data", "digits", "--limit", 8]
    code, result, err = run(capsys, *verify)
    assert code == 1 and not result["contract"]
    assert "q.tflite breaks the contract" in err and len(err.strip().splitlines()) == 2


def phases(path):
    """The phases of all layers of a saved model."""
    layers = quantized_layers(keras.models.load_model(path))
    return {int(layer.output_quantizer.phase) for layer in layers}


def test_quantized_training_and_further_training_of_its_result(made, tmp_path, capsys):
    output, further = tmp_path / "tuned.keras", tmp_path / "further.keras"
    train = ["train", "--data", "digits", "--limit", 64, "--learning-rate", 1e-3]
    quantization = ["--quantize", "w8a8", "--float-epochs", 1, "--freeze-epochs", 1]
    quantization += ["--monitor", tmp_path / "inside"]
    code, result, err = run(
        capsys, *train, "--model", made / "float.keras", *quantization, "--epochs", 3, "-o", output
    )
    assert code == 0 and result["quantized"] and "(quantized" in err
    assert phases(output) == {PHASES["frozen"]}
    seen = json.loads((tmp_path / "inside" / "quantization.json").read_text())
    assert seen["steps"] == list(range(7)) and len(seen["error"]) == 3
    assert (tmp_path / "inside" / "quantization.png").stat().st_size > 10_000
    assert list((tmp_path / "inside").glob("events.out.tfevents*"))
    assert main(["convert", str(output), "-o", str(tmp_path / "tuned.tflite")]) == 0

    code, result, _ = run(capsys, *train, "--model", output, "--epochs", 1, "-o", further)
    assert code == 0 and result["quantized"]
    assert phases(further) == {PHASES["quantized"]}  # frozen before, trained on all the same


@pytest.mark.slow
def test_demo(tmp_path, capsys):
    folder = tmp_path / "demo"
    small = ["--epochs", 1, "--quantized-epochs", 2, "--limit", 64, "--output", folder]
    code, result, err = run(capsys, "demo", *small)
    assert code == 0 and result["contract"] and result["logits_equal"] == 1.0
    assert result["images"] == 64 and result["latency_ms"] > 0
    assert all(f"{step}/6" in err for step in range(1, 7))
    assert sorted(path.suffix for path in folder.iterdir()) == [".keras", ".keras", ".tflite"]
