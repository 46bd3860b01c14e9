"""Files for target "phone-legacy" in the runtime that it means: `tflite-runtime` 2.14.

It needs an environment of its own, with NumPy 1. Two ways to run int8 are compared with LiteRT of
today: the runtime's XNNPACK with its int8 operators, which an app switches on, and what the Python
package does, which is to run them on built-in kernels.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import frozen_graphs
import keras
import numpy as np
import pytest
from environments import python_with

import mobilequant as mq
import tflite_tools
from mobilequant import targets
from mobilequant.data import load_classification
from tflite_tools import flatbuffer
from tflite_tools.emission import emit
from tflite_tools.interpreter import Interpreter
from tflite_tools.serialization import serialize, with_outputs

PACKAGES = ["tflite-runtime==2.14.0", "numpy<2"]
WORKER = Path(__file__).with_name("legacy_worker.py")

SIZE = 64


@pytest.fixture(scope="module")
def legacy_python():
    """Python of an environment with the old runtime."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime 2.14 exists for Python up to 3.11 only")
    return python_with(*PACKAGES)


@dataclasses.dataclass
class Case:
    """A file, its inputs, and what LiteRT of today computes."""

    name: str
    kind: str
    data: bytes
    inputs: list[np.ndarray]
    expected: list[np.ndarray]


def cases(data: bytes, images: list[np.ndarray]) -> list[Case]:
    """The whole file, and each of its operators by itself on what it gets there."""
    model = flatbuffer.parse(data)
    main = model.subgraphs[0]
    made = sorted({int(i) for op in main.operators for i in op.outputs})
    values = dict(zip(made, Interpreter(with_outputs(model, made)).run(*images), strict=True))
    found = [Case("whole", "", data, images, Interpreter(data).run(*images))]
    values |= dict(zip(map(int, main.inputs), images, strict=True))
    whole = main.inputs, main.outputs, main.operators
    model.signatureDefs = None
    for number, op in enumerate(whole[2]):
        inputs = list(dict.fromkeys(int(i) for i in op.inputs if int(i) in values))
        main.inputs, main.outputs, main.operators = np.array(inputs, np.int32), op.outputs, [op]
        found.append(
            Case(
                f"{number:03d}",
                flatbuffer.operator_name(model, op),
                serialize(model),
                [values[i] for i in inputs],
                [values[int(i)] for i in op.outputs],
            )
        )
    return found


def run(python, folder, cases):
    """Differences in steps, by case: on the default path, and with XNNPACK's int8 operators."""
    for case in cases:
        (folder / f"{case.name}.tflite").write_bytes(case.data)
        arrays = {f"{i:02d}": array for i, array in enumerate(case.inputs)}
        np.savez(folder / f"{case.name}.npz", **arrays)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [python, WORKER, folder]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    found = {}
    for case in cases:
        with np.load(folder / f"{case.name}.out.npz") as outputs:
            found[case.name] = {
                way: np.concatenate(
                    [
                        np.abs(expected.astype(int) - outputs[f"{way}_{i}"]).ravel()
                        for i, expected in enumerate(case.expected)
                    ]
                )
                for way in ("default", "xnnpack")
            }
            if case.name == "whole":
                assert outputs["xnnpack_delegated"] and not outputs["default_delegated"]
    return found


#: What the XNNPACK of that release does not compute in int8.
NOT_IN_XNNPACK = {"BATCH_MATMUL"}


def assert_close(cases, found):
    """Equal with XNNPACK, the whole of it; without it a step off at most in each operator.

    Nothing is said of a whole network without XNNPACK: steps of many layers add up, in these
    networks, which were never trained, more than in others; see the trained one below.
    """
    known = targets.get("phone-legacy").known_differences
    outside = NOT_IN_XNNPACK & {case.kind for case in cases}
    for case in cases:
        steps = found[case.name]
        if case.kind not in outside and not (case.name == "whole" and outside):
            assert steps["xnnpack"].max() == 0, (case.name, case.kind)
        if case.name != "whole":
            for way in steps.values():
                assert way.max() <= (1 if case.kind in known else 0), (case.name, case.kind)


def test_a_small_network(legacy_python, tmp_path):
    b = frozen_graphs.Builder()
    x = b.conv(b.input((32, 32, 3)), 8, strides=2, activation="RELU")
    y = b.depthwise(b.conv(x, 24, kernel=1, activation="RELU"))
    y = b.conv(y, 8, kernel=1)
    x = b.add(x, y, scale=max(x.scale, y.scale) * np.float32(1.3), zero_point=3)
    x = b.depthwise(b.pad(x, ((0, 1), (0, 1), (0, 0))), strides=2, padding="VALID")
    graph = b.finish(b.dense(b.mean(x), 10))
    data = emit(graph, target="phone-legacy")
    found = cases(data, frozen_graphs.random_inputs(graph, 4))
    assert_close(found, run(legacy_python, tmp_path, found))


def images(count, seed=0):
    """Smooth random pictures in [−1, 1]."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 8, 8, 3)).astype("float32")
    return np.asarray(keras.ops.image.resize(coarse, (SIZE, SIZE), interpolation="bilinear"))


OPTIONS = {"input_shape": (SIZE, SIZE, 3), "batch_norm_momentum": 0.0}

NETWORKS = {
    "V2": lambda m: m.MobileNetV2(classes=20, alpha=0.35, **OPTIONS),
    # Hard-swish as ADD and MUL, squeeze-excite.
    "V3": lambda m: m.MobileNetV3Small(classes=20, alpha=0.5, **OPTIONS),
    "V4": lambda m: m.MobileNetV4ConvSmall(classes=20, alpha=0.25, **OPTIONS),
    # Attention.
    "V4 hybrid": lambda m: m.MobileNetV4HybridMedium(classes=20, alpha=0.25, **OPTIONS),
    # Resizes.
    "LR-ASPP": lambda m: m.LRASPP("MobileNetV3Small", 4, alpha=0.5, filters=32, **OPTIONS),
    # Concatenations behind QUANTIZE.
    "SSDLite": lambda m: m.SSDLite("MobileNetV2", 3, alpha=0.35, extra_filters=(64,), **OPTIONS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_of_the_garden(name, legacy_python, tmp_path):
    keras.utils.set_random_seed(0)
    model = NETWORKS[name](mq.models)
    model(images(16), training=True)  # statistics that are those of the images
    qmodel = mq.calibrate(mq.quantize(model, target="phone-legacy"), images(8), verbose=0)
    path = tmp_path / "m.tflite"
    tflite_tools.convert(qmodel, path, check=False)
    data = path.read_bytes()
    path.unlink()
    (port,) = Interpreter(data).inputs
    found = cases(data, [port.quantize(images(4, seed=1))])
    assert_close(found, run(legacy_python, tmp_path, found))


@pytest.mark.slow
def test_a_trained_network_with_xnnpack_and_without(legacy_python, shared, tmp_path):
    """Without it steps add up over 50 layers, but classes stay: docs/how-to/phones.md."""
    weights = shared / "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"
    model = mq.models.MobileNetV2(weights=weights, classifier_activation=None)
    photographs = load_classification(
        "imagenet_sample", data_dir=shared / "data", image_size=224, batch_size=40, limit=80
    )
    seen, unseen = (np.asarray(batch) for batch, _ in photographs.test)
    qmodel = mq.calibrate(mq.quantize(model, target="phone-legacy"), seen, verbose=0)
    path = tmp_path / "m.tflite"
    tflite_tools.convert(qmodel, path, check=False)
    data = path.read_bytes()
    path.unlink()
    (port,) = Interpreter(data).inputs
    pixels = port.quantize(unseen)
    whole = Case("whole", "", data, [pixels], Interpreter(data).run(pixels))
    (logits,) = whole.expected
    steps = run(legacy_python, tmp_path, [whole])["whole"]
    with np.load(tmp_path / "whole.out.npz") as outputs:
        classes = outputs["default_0"].argmax(-1)
    assert np.ptp(logits.astype(int)) > 200 and steps["xnnpack"].max() == 0
    assert 0 < steps["default"].max() <= 16 and np.mean(steps["default"] <= 1) > 0.7
    assert np.mean(classes == logits.argmax(-1)) >= 0.9
