"""The files that are measured: how each is made from the one float network."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile

import common
import keras
import numpy as np
from deploy.distillation import CALIBRATION, calibrated, distilled
from deploy.rounding import round_pointwise

import mobilequant as mq
import tflite_tools

#: Of the files below build/.
FOLDER = common.WORK / "deploy"

WEIGHTS = "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"
CORALS = "reference/imagenet/tf2_mobilenet_v2_1.0_224_ptq.tflite"

#: Weights of 4 bits, the first and the last layer at 8 as in every named recipe. Depthwise kernels
#: are 2 in 100 of the weights and stay a byte each in the file: at 8 bits they cost nothing. Ranges
#: hold all weights: what was trained in float has outliers that matter, which the named recipe's
#: ranges clip (found on the images without labels).
W4A8 = mq.Recipe(
    weights=mq.Scheme(bits=4, range="minmax"),
    overrides={"first": "w8a8", "last": "w8a8", "depthwise": "w8a8"},
    name="w4a8*",
)

FLOAT, CORAL = "float", "Coral's int8"

#: Ours without training: recipe, whether weights are rounded together, and whether batch
#: normalization is measured anew.
CALIBRATED = {
    "w8a8, calibrated": ("w8a8", False, False),
    "w4a8, calibrated": ("w4a8", False, False),
    "w4a8, calibrated with batch_norm": ("w4a8", False, True),
    f"{W4A8.name}, calibrated with batch_norm": (W4A8, False, True),
    f"{W4A8.name}, GPTQ, calibrated with batch_norm": (W4A8, True, True),
}

#: Ours with training: the target of each file.
DISTILLED = {
    f"{W4A8.name}, GPTQ, distilled": "phone",
    f"{W4A8.name}, GPTQ, distilled, INT4": "phone-int4",
}

#: ai-edge-quantizer's, by the names of its worker's files.
THEIRS = {
    "static_wi8_ai8": "ai-edge-quantizer static w8a8",
    "static_wi4_ai8": "ai-edge-quantizer static w4a8 (depthwise w8)",
    "dynamic_wi4_afp32": "ai-edge-quantizer dynamic w4",
    "weight_only_wi4_afp32": "ai-edge-quantizer weight-only w4",
}
PACKAGE = "ai-edge-quantizer>=0.10,<0.11"


#: All files, in the order of the results.
NAMES = [FLOAT, *CALIBRATED, *DISTILLED, CORAL, *THEIRS.values()]


def make(arguments, unlabelled) -> dict[str, pathlib.Path]:
    """Makes all files that are not there yet.

    Args:
        arguments: Those of the command line.
        unlabelled: float32 images, for calibration and distillation.

    Returns:
        Their paths, by `NAMES`.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    model, rounded = (
        mq.models.MobileNetV2(weights=common.SHARED / WEIGHTS, classifier_activation=None)
        for _ in range(2)
    )
    round_pointwise(rounded, model, unlabelled)
    made = {FLOAT: _float_file(model), CORAL: common.SHARED / CORALS}
    seen = unlabelled[:CALIBRATION]
    for number, (name, (recipe, together, batch_norm)) in enumerate(CALIBRATED.items()):
        made[name] = FOLDER / f"calibrated_{number}.tflite"
        start = rounded if together else model
        qmodel = calibrated(recipe, start, unlabelled, batch_norm=batch_norm)
        print(
            tflite_tools.convert(qmodel, made[name], target="phone", samples=seen[:4]), flush=True
        )
    print(f"{W4A8.name}: distillation", flush=True)
    student = distilled("student", W4A8, rounded, model, unlabelled, arguments, FOLDER)
    for name, target in DISTILLED.items():
        made[name] = FOLDER / f"student_{target}.tflite"
        print(
            tflite_tools.convert(student, made[name], target=target, samples=seen[:4]), flush=True
        )
    made |= _theirs(made[FLOAT], seen)
    return {name: made[name] for name in NAMES}


def their_version() -> str:
    """Of ai-edge-quantizer, in its own environment."""
    program = "import importlib.metadata as m; print(m.version('ai-edge-quantizer'))"
    python = FOLDER / "ai_edge_quantizer" / "bin" / "python"
    return subprocess.check_output([python, "-c", program], text=True).strip()


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
