"""Weights by a repository's name, from a cache as the hub's client keeps it."""

import shutil
import sys

import numpy as np
import pytest

from mobilequant.models import MobileNetV3Small, MobileNetV4ConvSmall

SHAPE = (32, 32, 3)


@pytest.mark.parametrize(
    "name", ["hf-hub:", "hf-hub:timm", "hf-hub:a/b/c", "hf-hub:/b", "hf-hub:a/"]
)
def test_a_repository_has_an_owner_and_a_name(name):
    with pytest.raises(ValueError, match="must be hf-hub:owner/name"):
        MobileNetV4ConvSmall(SHAPE, weights=name)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"mobilequant\[hub\]"):
        MobileNetV4ConvSmall(SHAPE, weights="hf-hub:timm/mobilenetv4_conv_small.e2400_r224_in1k")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder laid out as the client's cache, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(file, owner, name):
        repository = tmp_path / f"models--{owner}--{name}"
        snapshot = repository / "snapshots" / "0123456789abcdef"
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(snapshot.name)
        shutil.copy(file, snapshot / "model.safetensors")

    return put


def test_the_repositorys_name_says_what_the_file_is(shared, cache):
    """It is one of timm's ports from TensorFlow, which only the name of the repository shows."""
    file = shared / "reference/goldens/tf_mobilenetv3_small_075.safetensors"
    cache(file, "timm", "tf_mobilenetv3_small_075.in1k")
    from_hub = MobileNetV3Small(
        SHAPE, alpha=0.75, weights="hf-hub:timm/tf_mobilenetv3_small_075.in1k"
    )
    from_file = MobileNetV3Small(SHAPE, alpha=0.75, weights=file)
    assert from_hub.get_layer("conv").padding == "same"
    for a, b in zip(from_hub.weights, from_file.weights, strict=True):
        assert np.array_equal(a, b)


def test_a_repository_out_of_reach_is_named(cache):
    with pytest.raises(ValueError, match="hf-hub:timm/nothing.*cannot be had"):
        MobileNetV4ConvSmall(SHAPE, weights="hf-hub:timm/nothing")
