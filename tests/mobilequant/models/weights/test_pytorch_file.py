"""Safetensors files: both kinds of names, and every way in which they may not fit."""

import json
import sys

import keras
import ml_dtypes
import numpy as np
import pytest

from mobilequant.models import (
    MobileNetEdgeTPU,
    MobileNetMultiMAX,
    MobileNetV1,
    MobileNetV2,
    MobileNetV3Large,
    MobileNetV3Small,
    MobileNetV4ConvSmall,
    MobileNetV4HybridMedium,
)
from mobilequant.models.mobilenet_v1 import MOBILENET_V1
from mobilequant.models.mobilenet_v2 import MOBILENET_V2
from mobilequant.models.mobilenet_v3 import MOBILENET_V3_LARGE
from mobilequant.models.weights import timm, torchvision

safetensors = pytest.importorskip("safetensors.numpy")
SHAPE = (32, 32, 3)


def _as_pytorch(model, pairs) -> dict[str, np.ndarray]:
    """The weights of `model` as PyTorch would save them; linear classifiers have two axes."""
    names = {"gamma": "weight", "beta": "bias", "kernel": "weight", "bias": "bias"}
    names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    tensors = {}
    for layer_name, prefix in pairs:
        layer = model.get_layer(layer_name)
        for variable in layer.weights:
            value = np.array(variable)
            if value.ndim == 4:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                value = value.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
                if prefix.startswith("classifier"):
                    value = value[:, :, 0, 0]
            tensors[f"{prefix}.{names[variable.name]}"] = (
                value.T if value.ndim == 2 and (isinstance(layer, keras.layers.Dense)) else value
            )
        if isinstance(layer, keras.layers.BatchNormalization):
            tensors[f"{prefix}.num_batches_tracked"] = np.array(7)
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("builder", "architecture", "names", "epsilon"),
    [
        (MobileNetV1, MOBILENET_V1, timm, 1e-5),
        (MobileNetV2, MOBILENET_V2, timm, 1e-5),
        (MobileNetV2, MOBILENET_V2, torchvision, 1e-5),
        (MobileNetV3Large, MOBILENET_V3_LARGE, timm, 1e-5),
        (MobileNetV3Large, MOBILENET_V3_LARGE, torchvision, 1e-3),
    ],
)
def test_files_written_here_load(
    tmp_path, randomize, images, builder, architecture, names, epsilon
):
    options = {"classes": 5, "alpha": 0.35}
    conventions = {"padding": "symmetric", "batch_norm_epsilon": epsilon}
    saved = randomize(builder(SHAPE, **options, **conventions))
    path = tmp_path / "mobilenet.safetensors"
    safetensors.save_file(_as_pytorch(saved, names.layer_names(architecture, True)), path)
    loaded = builder(SHAPE, weights=path, **options)
    x = images(SHAPE)
    np.testing.assert_allclose(loaded(x), saved(x), rtol=0, atol=1e-6)
    # A backbone takes what it needs of a classifier's file.
    backbone = builder(SHAPE, alpha=0.35, include_top=False, pooling="avg", weights=path)
    for ours, theirs in zip(backbone.weights, saved.weights, strict=False):
        assert np.array_equal(ours, theirs)


def test_names_of_torchvision_are_its_own():
    """A sample of names, as its published files have them."""
    v2 = dict(torchvision.layer_names(MOBILENET_V2, True))
    assert v2["expanded_conv_depthwise"] == "features.1.conv.0.0"
    assert v2["expanded_conv_project_BN"] == "features.1.conv.2"
    assert v2["block_1_expand_BN"] == "features.2.conv.0.1"
    assert v2["block_16_project"] == "features.17.conv.2"
    assert v2["Conv_1"] == "features.18.0" and v2["predictions"] == "classifier.1"
    v3 = dict(torchvision.layer_names(MOBILENET_V3_LARGE, True))
    assert v3["expanded_conv_project_bn"] == "features.1.block.1.1"
    assert v3["expanded_conv_3_squeeze_excite_conv"] == "features.4.block.2.fc1"
    assert v3["conv_1_bn"] == "features.16.1"
    assert (v3["conv_2"], v3["logits"]) == ("classifier.0", "classifier.3")


@pytest.fixture
def small(shared):
    path = shared / "reference/goldens/mobilenetv4_conv_small_035.safetensors"
    return path, safetensors.load_file(path)


def _build(path, **options):
    return MobileNetV4ConvSmall(SHAPE, alpha=0.35, weights=path, **options)


def test_missing_extra_and_misshapen_names_are_listed(tmp_path, small):
    _, tensors = small
    del tensors["blocks.2.1.dw_mid.bn.running_var"], tensors["norm_head.weight"]
    tensors["blocks.2.0.dw_end.conv.weight"] = np.zeros((3, 1, 3, 3), "float16")
    tensors["conv_stem.weight"] = tensors["conv_stem.weight"][:, :1]
    path = tmp_path / "mobilenetv4.safetensors"
    safetensors.save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
    with pytest.raises(ValueError) as error:
        _build(path)
    message = str(error.value)
    assert message.startswith(f"{path} does not fit the model 'mobilenetv4_conv_small_0.35_32'")
    missing = "blocks.2.1.dw_mid.bn.running_var, norm_head.weight"
    assert f"2 missing in the file: {missing};" in message
    assert "1 in the file but not in the model: blocks.2.0.dw_end.conv.weight;" in message
    assert "1 of another shape: conv_stem.weight (the file has (32, 1, 3, 3)" in message
    # Without the top, what belongs to it does not count, and the rest does.
    with pytest.raises(ValueError) as error:
        _build(path, include_top=False)
    assert "1 missing in the file: blocks.2.1.dw_mid.bn.running_var;" in str(error.value)


def test_nothing_is_loaded_from_a_file_that_does_not_fit(small):
    path, _ = small
    with pytest.raises(ValueError, match="of another shape.* more"):
        MobileNetV4ConvSmall(SHAPE, alpha=0.5, weights=path)
    with pytest.raises(ValueError, match="missing in the file"):
        MobileNetV4HybridMedium(SHAPE, alpha=0.35, weights=path)


def test_another_number_of_classes_says_what_to_do(small):
    path, _ = small
    with pytest.raises(ValueError, match="classifier has 1000 classes: build with classes=1000"):
        _build(path, classes=10)


def test_the_advice_for_other_classes_works(small, images):
    path, _ = small
    model = _build(path)
    outputs = keras.layers.Dense(10)(model.layers[-2].output)
    assert keras.Model(model.input, outputs)(images(SHAPE)).shape == (2, 10)


def test_a_file_with_another_head_says_what_to_do(shared):
    path = shared / "reference/goldens/lraspp_mobilenet_v3_large.safetensors"
    with pytest.raises(ValueError, match="take include_top=False"):
        MobileNetV3Large(SHAPE, weights=path)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_floats_of_any_width_become_float32(tmp_path, small, kind):
    _, tensors = small
    dtype = ml_dtypes.bfloat16 if kind == "bfloat16" else kind
    path = tmp_path / "mobilenetv4.safetensors"
    safetensors.save_file({k: v.astype(dtype) for k, v in tensors.items()}, path)
    model = _build(path)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    stem = tensors["conv_stem.weight"].astype(dtype).astype("float32").transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, stem)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_files_are_named(tmp_path, small, share):
    path, _ = small
    cut = tmp_path / "cut.safetensors"
    data = path.read_bytes()
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="cut.safetensors is damaged"):
        _build(cut)


def test_names_of_neither_are_refused(tmp_path, small):
    path = tmp_path / "resnet.safetensors"
    safetensors.save_file({"layer1.0.conv1.weight": np.zeros((2, 2), "float32")}, path)
    with pytest.raises(ValueError, match="neither timm's names.*layer1.0.conv1.weight"):
        _build(path)
    with pytest.raises(ValueError, match="timm has no model mobilenet_multi_max"):
        MobileNetMultiMAX(SHAPE, weights=small[0])


@pytest.mark.parametrize(
    ("place", "padding"),
    [
        ("metadata", "same"),
        ("config", "same"),
        ("file", "same"),
        ("folder", "same"),
        ("plain file", "valid"),
        ("nothing", "valid"),
    ],
)
def test_timms_ports_from_tensorflow_are_known_by_name(tmp_path, shared, place, padding, recwarn):
    tensors = safetensors.load_file(
        shared / "reference/goldens/tf_mobilenetv3_small_075.safetensors"
    )
    model_name = "tf_mobilenetv3_small_075"
    folder = tmp_path / (f"{model_name}.in1k" if place == "folder" else "weights")
    folder.mkdir()
    file = {"file": f"{model_name}.in1k", "plain file": "mobilenetv3_small_075"}.get(place, "model")
    if place == "config":
        (folder / "config.json").write_text(json.dumps({"architecture": model_name}))
    metadata = {"model": model_name} if place == "metadata" else None
    path = folder / f"{file}.safetensors"
    safetensors.save_file(tensors, path, metadata)
    model = MobileNetV3Small(SHAPE, alpha=0.75, weights=path)
    assert model.get_layer("conv").padding == padding
    assert model.get_layer("conv_bn").epsilon == (1e-3 if padding == "same" else 1e-5)
    warned = [str(w.message) for w in recwarn if "nothing says" in str(w.message)]
    assert bool(warned) == (place == "nothing")


def test_edgetpu_has_names_in_timm(tmp_path):
    from mobilequant.models.mobilenet_edgetpu import MOBILENET_EDGETPU

    saved = MobileNetEdgeTPU(SHAPE, 5, alpha=0.35)
    tensors = _as_pytorch(saved, timm.layer_names(MOBILENET_EDGETPU, True))
    assert {"blocks.0.0.conv.weight", "blocks.1.0.conv_exp.weight", "bn2.bias"} <= set(tensors)
    assert {"blocks.4.0.conv_pw.weight", "blocks.6.0.bn3.weight"} <= set(tensors)
    safetensors.save_file(tensors, tmp_path / "mobilenet_edgetpu_100.safetensors")
    loaded = MobileNetEdgeTPU(
        SHAPE, 5, alpha=0.35, weights=tmp_path / "mobilenet_edgetpu_100.safetensors"
    )
    for ours, theirs in zip(loaded.weights, saved.weights, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_missing_package_names_the_extra(monkeypatch, small):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"mobilequant\[safetensors\]"):
        _build(small[0])
