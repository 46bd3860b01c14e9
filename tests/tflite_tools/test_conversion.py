"""convert and verify: what is checked, what is refused, what is left on the disk."""

import importlib
import json
import os
import stat

import broken_files
import frozen_graphs
import numpy as np
import pytest

from tflite_tools import (
    ConversionError,
    InvalidModelError,
    conversion,
    convert,
    edgetpu,
    flatbuffer,
    inspect,
    verify,
)
from tflite_tools.agreement import Agreement
from tflite_tools.emission import emit


class Twin:
    """Stands for a quantized Keras model: infers a frozen graph with the NumPy reference."""

    def __init__(self, graph, faults=None):
        self.graph, self.faults = graph, faults or {}

    def tensors(self, batch):
        arrays = batch if isinstance(batch, list) else [batch]
        inputs = [
            np.clip(np.rint(x * (np.float32(1) / t.scale)) + t.zero_point, -128, 127)
            for x, t in zip(arrays, self.graph.inputs, strict=True)
        ]
        found = frozen_graphs.run(self.graph, inputs)
        for name, steps in self.faults.items():
            moved = found[name].astype(int) + steps
            found[name] = np.clip(moved, -128, 127).astype(np.int8)
        return found


@pytest.fixture(autouse=True)
def twins_for_keras(monkeypatch):
    """The functions through which this package sees Keras, for `Twin`s."""

    def freeze(twin, allow_float=False):
        if twin is None:
            raise ValueError("Model 'm' has no ranges yet in 'stem': calibrate it.")
        return twin.graph

    def infer_tensors(twin, batch, names=None):
        found = twin.tensors(batch)
        return {name: found[name] for name in names or found}

    # By import_module: the package's attribute of this name is the function `quantize`.
    keras_side = importlib.import_module("mobilequant.quantize")
    for function in (freeze, infer_tensors):
        monkeypatch.setattr(keras_side, function.__name__, function)


@pytest.fixture
def twin():
    return Twin(frozen_graphs.classifier(seed=1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.tflite"


def images(count=5, size=16, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype("float32")


def leftovers(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_report(twin, path, interface):
    report = convert(twin, path, interface=interface)
    assert report.size == path.stat().st_size
    assert report.operators["CONV_2D"] == 3
    assert report.operators["QUANTIZE"] == (2 if interface == "uint8" else 0)
    assert report.agreement.logits.equal == 1
    assert (report.target, report.interface) == ("phone", interface)
    assert f"{interface} in and out" in str(report)
    assert "bytes for phone" in str(report)
    json.dumps(report.to_dict())
    assert leftovers(path.parent) == ["m.tflite"]


def test_layers_that_an_accelerator_leaves_to_the_cpu_are_those_of_its_plan(path):
    twin = Twin(frozen_graphs.classifier(seed=1, target="edgetpu"))
    assert convert(twin, path).cpu_layers == []
    report = convert(twin, path, batch_size=2)
    assert report.cpu_layers == edgetpu.plan(path, compile=False).causes
    (stem,) = report.cpu_layers
    assert (stem.name, stem.kind, stem.behind) == ("stem", "CONV_2D", 9)
    assert "stays on the CPU: 'stem', CONV_2D: a tensor of 2×16×16×3" in str(report)
    assert "; with it 9 operators behind it; what to change: use a batch of 1 and" in str(report)
    assert report.to_dict()["cpu_layers"][0]["behind"] == 9


def test_default_interface_is_the_targets(twin, path):
    assert convert(twin, path).interface == "int8"


def test_fixed_batch(twin, path):
    convert(twin, path, batch_size=3)
    assert inspect(path).inputs[0].shape == (3, 16, 16, 3)
    assert verify(twin, path, images(7)).equal == 1


def test_samples(twin, path):
    assert convert(twin, path, samples=images(11)).agreement.images == 11


def test_without_check(twin, path):
    report = convert(twin, path, check=False)
    assert report.agreement is None
    assert "not checked" in str(report)


@pytest.mark.parametrize("faults", [{"add": 1, "logits": 1}, {"probabilities": 2}])
def test_disagreement_is_refused_with_the_layers_name(twin, path, faults):
    path.write_bytes(b"what was there")
    twin.faults = faults
    with pytest.raises(ConversionError, match=f"'{next(iter(faults))}'.*steps? from Keras"):
        convert(twin, path)
    assert path.read_bytes() == b"what was there"
    assert leftovers(path.parent) == ["m.tflite"]


def test_softmax_may_lie_one_step_off(twin, path):
    twin.faults = {"probabilities": 1}
    assert convert(twin, path).agreement.max_steps == 1


def test_model_that_cannot_be_frozen(path):
    with pytest.raises(ConversionError, match="'stem'"):
        convert(None, path)
    assert not path.exists()


def test_another_target(twin, path):
    with pytest.raises(ConversionError, match="quantized for target 'phone', not 'edgetpu'"):
        convert(twin, path, target="edgetpu")
    assert convert(twin, path, target="phone").target == "phone"


def test_another_target_of_the_family(twin, path):
    assert convert(twin, path, target="phone-legacy").target == "phone-legacy"
    assert flatbuffer.minimum_runtime(flatbuffer.read(path)) == "1.14.0"
    with pytest.raises(ConversionError, match="Unknown target 'tablet'"):
        convert(twin, path, target="tablet")


def test_missing_folder(twin, tmp_path):
    with pytest.raises(ConversionError, match="there is no folder"):
        convert(twin, tmp_path / "gone" / "m.tflite")


def test_directory(twin, tmp_path):
    with pytest.raises(ConversionError, match="is a directory"):
        convert(twin, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_protected_folder(twin, tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(ConversionError, match="cannot be written to"):
            convert(twin, tmp_path / "m.tflite")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_existing_file_and_no_overwriting(twin, path):
    path.write_bytes(b"what was there")
    with pytest.raises(ConversionError, match="exists already"):
        convert(twin, path, overwrite=False)
    assert path.read_bytes() == b"what was there"
    convert(twin, path)
    assert inspect(path).float_tensors == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_interrupted_while_writing(twin, path, monkeypatch, failure, step):
    path.write_bytes(b"what was there")

    def fail(*_):
        raise failure

    monkeypatch.setattr(conversion.os, step, fail)
    expected = ConversionError if isinstance(failure, OSError) else failure
    with pytest.raises(expected):
        convert(twin, path)
    assert path.read_bytes() == b"what was there"
    assert leftovers(path.parent) == ["m.tflite"]


def test_report_names_the_file_as_the_caller_did(twin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = convert(twin, "m.tflite")
    assert report.path == report.agreement.path == "m.tflite"
    assert leftovers(tmp_path) == ["m.tflite"]


def test_link_stays_a_link(twin, tmp_path):
    (tmp_path / "link.tflite").symlink_to(tmp_path / "m.tflite")
    convert(twin, tmp_path / "link.tflite")
    assert (tmp_path / "link.tflite").is_symlink()
    assert inspect(tmp_path / "m.tflite").size


def batched(form):
    x = images(10)
    return {
        "array": lambda: x,
        "dict": lambda: {"image": x},
        "batches": lambda: (x[i : i + 4] for i in (0, 4, 8)),
        "with labels": lambda: [(x[:5], np.zeros(5)), (x[5:], np.zeros(5))],
        "dataset": lambda: _dataset(x),
        "dataset with labels": lambda: _dataset((x, np.zeros(10))),
    }[form]()


def _dataset(tensors):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(tensors).batch(3)


@pytest.mark.parametrize(
    "form",
    ["array", "dict", "batches", "with labels", "dataset", "dataset with labels"],
)
@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_verify_takes_images_in_every_form(twin, path, form, interface):
    convert(twin, path, interface=interface)
    result = verify(twin, path, batched(form))
    assert result.images == 10
    assert result.equal == result.within_one_step == result.top1_agreement == 1
    assert result.max_steps == 0
    assert result.logits.equal == 1
    assert result.logits.span > 20
    assert "100 %" in str(result)
    json.dumps(result.to_dict())


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_result_does_not_depend_on_batches(twin, path, batch_size):
    convert(twin, path)
    twin.faults = {"probabilities": 1}
    figures = verify(twin, path, images(10), batch_size=batch_size).to_dict()
    assert figures == verify(twin, path, images(10), batch_size=10).to_dict()


def test_file_that_cannot_be_resized(path):
    b = frozen_graphs.Builder()
    x = b.reshape(b.mean(b.input((6, 6, 8))), (2, 4))
    twin = Twin(b.finish(b.reshape(x, (8,))))
    convert(twin, path, batch_size=2)
    x = np.random.default_rng(0).normal(size=(5, 6, 6, 8)).astype("float32")
    assert verify(twin, path, x, batch_size=5).equal == 1


@pytest.mark.parametrize("kernels", ["default", "builtin"])
def test_layers(twin, path, kernels):
    convert(twin, path)
    result = verify(twin, path, images(), layers=True, kernels=kernels)
    names = [op.outputs[0].name for op in twin.graph.operators]
    assert [layer.name for layer in result.layers] == names
    if kernels == "default":
        assert result.first_difference is None
        assert "every tensor agrees" in str(result)
    else:
        assert min(layer.within_one_step for layer in result.layers) > 0.98


def test_first_difference(twin, path):
    convert(twin, path)
    twin.faults = {"add": 1, "pool": 3}
    result = verify(twin, path, images(), layers=True)
    assert (result.first_difference.name, result.first_difference.kind) == ("add", "ADD")
    assert "first difference: add (ADD), up to 1 step, " in str(result)
    assert result.to_dict()["first_difference"]["max_steps"] == 1


def test_figures_count_steps():
    agreement = Agreement("x")
    agreement.add(np.array([[0, 1, 2, 9]], np.int8), np.array([[0, 2, 5, 9]], np.int8))
    agreement.add(np.array([[-128, 3, 0, 0]], np.int8), np.array([[127, 3, 0, 0]], np.int8))
    assert (agreement.equal, agreement.within_one_step, agreement.max_steps) == (5 / 8, 6 / 8, 255)
    assert agreement.top1_agreement == 0.5
    assert (agreement.smallest, agreement.largest, agreement.span) == (0, 127, 128)
    assert agreement.distinct == 6


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.zeros((0, 16, 16, 3), "float32"), "no images"),
        ([], "no images"),
        (np.zeros((2, 8, 16, 3), "float32"), r"\(n, 16, 16, 3\), got images of shape \(2, 8, 16"),
        (np.zeros((16, 16, 3), "float32"), r"got images of shape \(16, 16, 3\)"),
        (np.full((1, 16, 16, 3), np.nan, "float32"), "NaN"),
        ({"other": np.zeros((1, 16, 16, 3), "float32")}, "lack the inputs 'image'"),
        (5, "images must be"),
    ],
)
def test_images_that_do_not_fit(twin, path, bad, reason):
    convert(twin, path)
    with pytest.raises(ValueError, match=reason):
        verify(twin, path, bad)


def test_verify_refuses_the_file_of_another_model(twin, path):
    path.write_bytes(emit(frozen_graphs.classifier(seed=2, classes=7)))
    with pytest.raises(ValueError, match=r"output.*\(1, 7\).*\(n, 10\)"):
        verify(twin, path, images())
    other = frozen_graphs.classifier(seed=1)
    other.inputs[0].scale = np.float32(0.01)
    path.write_bytes(emit(other))
    with pytest.raises(ValueError, match="made from this model"):
        verify(twin, path, images())


def test_verify_refuses_what_is_no_model(twin, path):
    path.write_bytes(b"TFL3 backwards")
    with pytest.raises(InvalidModelError, match=r"m\.tflite"):
        verify(twin, path, images())


def test_verify_outlives_a_file_that_litert_does_not(twin, path):
    path.write_bytes(broken_files.split_by_zero())
    with pytest.raises(InvalidModelError, match="m.tflite: LiteRT ends the process"):
        verify(twin, path, images())


def test_unknown_kernels(twin, path):
    convert(twin, path)
    with pytest.raises(ValueError, match="kernels must be one of default, builtin"):
        verify(twin, path, images(), kernels="gpu")
