"""The files that are measured: how each is made from the one float network."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile

import common
import keras
import numpy as np
from deploy.quantized import CALIBRATION, METHODS, kept

import mobilequant as mq
import tflite_tools

#: Of the files below build/.
FOLDER = common.WORK / "deploy"

WEIGHTS = "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"
CORALS = "reference/imagenet/tf2_mobilenet_v2_1.0_224_ptq.tflite"

#: Weights of 4 bits, the first and the last layer at 8 as in every named recipe. Depthwise kernels
#: and the small 1×1 convolutions of the first seven blocks are 4 in 100 of the weights, and their
#: errors run through all that comes behind: 8 bits. Ranges hold all weights, where they are not
#: learned: what was trained in float has outliers that matter, which the named recipe's ranges
#: clip. (The blocks were chosen after a first result on the odd images, 83.2 % with the first of
#: these convolutions alone at 8 bits: what is measured there is no blind figure.)
W4A8 = mq.Recipe(
    weights=mq.Scheme(bits=4, range="minmax"),
    overrides={
        "first": "w8a8",
        "last": "w8a8",
        "depthwise": "w8a8",
        "expanded_conv_project": "w8a8",
        "block_[1-6]_*": "w8a8",
    },
    name="w4a8*",
)

#: Weights of 4 bits where most weights are: the last three blocks, the convolution behind them and
#: the classifier, 80 in 100. All that is small stays at 8 bits: for its size it adds most to the
#: divergence from the float network (`parts.py`, on images without labels).
W4A8_LARGE = mq.Recipe(
    weights=mq.Scheme(bits=4, range="minmax"),
    overrides={
        "first": "w8a8",
        "depthwise": "w8a8",
        "expanded_conv_project": "w8a8",
        "block_[1-9]_*": "w8a8",
        "block_1[0-3]_*": "w8a8",
    },
    name="w4a8 large",
)

FLOAT, CORAL = "float", "Coral's int8"

#: Ours: recipe, how it is quantized, and the target of the file.
OURS = {
    f"{getattr(recipe, 'name', recipe)}, {method}{', INT4' if target == 'phone-int4' else ''}": (
        recipe,
        method,
        target,
    )
    for recipe, method, target in (
        ("w8a8", METHODS[0], "phone"),
        ("w4a8", METHODS[0], "phone"),
        ("w4a8", METHODS[1], "phone"),
        (W4A8, METHODS[0], "phone"),
        (W4A8, METHODS[1], "phone"),
        (W4A8, METHODS[2], "phone"),
        (W4A8, METHODS[2], "phone-int4"),
        (W4A8_LARGE, METHODS[1], "phone"),
        (W4A8_LARGE, METHODS[2], "phone"),
        (W4A8_LARGE, METHODS[2], "phone-int4"),
    )
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
NAMES = [FLOAT, *OURS, CORAL, *THEIRS.values()]


def make(arguments, unlabelled) -> dict[str, pathlib.Path]:
    """Makes all files that are not there yet.

    Args:
        arguments: Those of the command line.
        unlabelled: float32 images, for ranges and for learning from the float network.

    Returns:
        Their paths, by `NAMES`.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    weights = common.SHARED / WEIGHTS
    model = mq.models.MobileNetV2(weights=weights, classifier_activation=None)
    made = {FLOAT: _float_file(model), CORAL: common.SHARED / CORALS}
    seen, stages = unlabelled[:CALIBRATION], {}
    for name, (recipe, method, target) in OURS.items():
        stage = f"{getattr(recipe, 'name', recipe)} {method}".replace("*", "star").replace(" ", "_")
        if stage not in stages:
            print(name, flush=True)
            stages[stage] = kept(stage, recipe, method, model, unlabelled, arguments, FOLDER)
        made[name] = FOLDER / f"{stage}_{target}.tflite"
        report = tflite_tools.convert(stages[stage], made[name], target=target, samples=seen[:4])
        print(report, flush=True)
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
