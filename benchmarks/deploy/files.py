"""The files that are measured: how each is made from the one float network."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile

import common
import keras
import numpy as np
from deploy.distillation import distilled

import mobilequant as mq
import tflite_tools

#: Of the files below build/.
FOLDER = common.WORK / "deploy"

#: Images that set ranges, ours and theirs.
CALIBRATION = 64

WEIGHTS = "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"
CORALS = "reference/imagenet/tf2_mobilenet_v2_1.0_224_ptq.tflite"

#: Weights of 4 bits, the first and the last layer at 8 as in every named recipe. Depthwise kernels
#: are 2 in 100 of the weights and stay a byte each in the file: at 8 bits they cost nothing.
RECIPES = {
    "w4a8": mq.Recipe.named("w4a8"),
    "w4a8, depthwise w8": mq.Recipe(
        weights=mq.Recipe.named("w4a8").weights,
        overrides={"first": "w8a8", "last": "w8a8", "depthwise": "w8a8"},
        name="w4a8, depthwise w8",
    ),
}

FLOAT, CORAL = "float", "Coral's int8"
CALIBRATED = "w8a8, calibrated"

#: ai-edge-quantizer's, by the names of its worker's files.
THEIRS = {
    "static_wi8_ai8": "ai-edge-quantizer static w8a8",
    "static_wi4_ai8": "ai-edge-quantizer static w4a8 (depthwise w8)",
    "dynamic_wi4_afp32": "ai-edge-quantizer dynamic w4",
    "weight_only_wi4_afp32": "ai-edge-quantizer weight-only w4",
}
PACKAGE = "ai-edge-quantizer>=0.10,<0.11"


def names(recipes) -> list[str]:
    """All files with 4-bit ones of these recipes, in the order of the results."""
    ours = (f"{name}, distilled{how}" for name in recipes for how in ("", ", INT4"))
    return [FLOAT, CALIBRATED, *ours, CORAL, *THEIRS.values()]


def make(arguments, unlabelled) -> dict[str, pathlib.Path]:
    """Makes all files that are not there yet.

    Args:
        arguments: Those of the command line.
        unlabelled: float32 images, for calibration and distillation.

    Returns:
        Their paths, by the names that `names` gives.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = mq.models.MobileNetV2(weights=common.SHARED / WEIGHTS, classifier_activation=None)
    made = {FLOAT: _float_file(model)}
    seen = unlabelled[:CALIBRATION]
    made[CALIBRATED] = FOLDER / "w8a8.tflite"
    qmodel = mq.calibrate(mq.quantize(model), seen, batch_size=16, verbose=0)
    print(tflite_tools.convert(qmodel, made[CALIBRATED], samples=seen[:4]), flush=True)
    for number, (name, recipe) in enumerate(RECIPES.items()):
        if name not in arguments.recipes:
            continue
        print(f"{name}: distillation", flush=True)
        stage = f"student_{number}"
        student = distilled(stage, recipe, model, unlabelled, arguments, FOLDER)
        for how, target in (("", "phone"), (", INT4", "phone-int4")):
            path = FOLDER / f"{stage}_{target}.tflite"
            made[f"{name}, distilled{how}"] = path
            print(tflite_tools.convert(student, path, target=target, samples=seen[:4]), flush=True)
    made[CORAL] = common.SHARED / CORALS
    made |= _theirs(made[FLOAT], seen)
    return {name: made[name] for name in names(arguments.recipes)}


def _float_file(model) -> pathlib.Path:
    """The network in float32, by TensorFlow's converter, with a signature."""
    import tensorflow as tf

    path = FOLDER / "float.tflite"
    archive = keras.export.ExportArchive()
    archive.track(model)
    image = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32", name="image")
    archive.add_endpoint("serve", lambda image: model(image, training=False), [image])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        path.write_bytes(converter.convert())
    return path


def _theirs(float_file, images) -> dict[str, pathlib.Path]:
    """ai-edge-quantizer's files, made in an environment of its own: it wants other packages."""
    environment = FOLDER / "ai_edge_quantizer"
    python = environment / "bin" / "python"
    if not (environment / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        (environment / ".ready").touch()
    np.save(FOLDER / "calibration.npy", images)
    worker = pathlib.Path(__file__).with_name("edge_quantizer.py")
    subprocess.run(
        [python, worker, float_file, FOLDER / "calibration.npy", FOLDER, *THEIRS], check=True
    )
    return {name: FOLDER / f"{recipe}.tflite" for recipe, name in THEIRS.items()}
