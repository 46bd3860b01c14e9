"""Files that Keras wrote: every kind, and every way in which they may not fit."""

import zipfile

import h5py
import numpy as np
import pytest

from mobilequant.models import (
    MobileNetV2,
    MobileNetV3Small,
    MobileNetV4ConvSmall,
    MobileNetV4HybridMedium,
)

SHAPE = (32, 32, 3)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize("builder", [MobileNetV2, MobileNetV4HybridMedium])
def test_our_own_files_of_each_kind(tmp_path, builder, suffix):
    saved = builder(SHAPE, 5, alpha=0.35)
    path = tmp_path / f"model{suffix}"
    saved.save_weights(path) if suffix == ".weights.h5" else saved.save(path)
    loaded = builder(SHAPE, 5, alpha=0.35, weights=str(path))
    for ours, theirs in zip(loaded.weights, saved.weights, strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("builder", "suffix"), [(MobileNetV3Small, ".weights.h5"), (MobileNetV4ConvSmall, ".keras")]
)
def test_a_backbone_takes_what_it_needs_of_a_classifiers_file(tmp_path, builder, suffix):
    saved = builder(SHAPE, 5, alpha=0.35)
    path = tmp_path / f"model{suffix}"
    saved.save_weights(path) if suffix == ".weights.h5" else saved.save(path)
    for options in ({"pooling": "avg"}, {"features": ["stride4"]}):
        backbone = builder(SHAPE, alpha=0.35, include_top=False, weights=path, **options)
        for layer in backbone.layers:
            for variable in layer.weights:
                (same,) = (w for w in saved.weights if w.path == variable.path)
                assert np.array_equal(variable, same)


def test_epsilon_and_padding_stay_tensorflow_unless_given(tmp_path):
    path = tmp_path / "m.weights.h5"
    MobileNetV4ConvSmall(SHAPE, 5, alpha=0.35).save_weights(path)
    model = MobileNetV4ConvSmall(SHAPE, 5, alpha=0.35, weights=path)
    assert model.get_layer("stem_bn").epsilon == 1e-3
    given = MobileNetV4ConvSmall(
        SHAPE, 5, alpha=0.35, weights=path, padding="symmetric", batch_norm_epsilon=1e-5
    )
    assert given.get_layer("stem_bn").epsilon == 1e-5
    assert given.get_layer("stem_conv").padding == "valid"


@pytest.mark.parametrize("name", ["damaged.weights.h5", "damaged.keras", "damaged.h5"])
def test_damaged_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not a weights file")
    with pytest.raises(ValueError, match=name):
        MobileNetV2(SHAPE, 3, alpha=0.35, weights=tmp_path / name)


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.keras", "cut.h5"])
def test_truncated_files_are_named(tmp_path, name):
    model = MobileNetV2(SHAPE, 3, alpha=0.35)
    path = tmp_path / name
    model.save_weights(path) if name == "cut.weights.h5" else model.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=name):
        MobileNetV2(SHAPE, 3, alpha=0.35, weights=path)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
def test_another_number_of_classes_names_file_and_layer(tmp_path, suffix):
    path = tmp_path / f"five{suffix}"
    saved = MobileNetV2(SHAPE, 5, alpha=0.35)
    saved.save_weights(path) if suffix == ".weights.h5" else saved.save(path)
    with pytest.raises(ValueError, match=f"(?s)five{suffix} does not fit.*classes.*predictions"):
        MobileNetV2(SHAPE, 6, alpha=0.35, weights=path)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_missing_and_extra_weights_are_listed(tmp_path, suffix):
    saved = MobileNetV2(SHAPE, 5, alpha=0.35)
    path = tmp_path / f"model{suffix}"
    inner = tmp_path / "model.weights.h5"
    saved.save_weights(inner)
    with h5py.File(inner, "r+") as file:
        del file["layers/conv2d_3/vars/0"]
        file["layers/dense_1/vars/0"] = np.zeros((3, 4), "float32")
    if suffix == ".keras":
        saved.save(path)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        parts["model.weights.h5"] = inner.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
    with pytest.raises(ValueError) as error:
        MobileNetV2(SHAPE, 5, alpha=0.35, weights=path)
    message = str(error.value)
    assert "1 missing in the file: block_1_project/kernel (layers/conv2d_3/vars/0)" in message
    assert "1 in the file but not in the model: layers/dense_1/vars/0" in message


def test_a_file_needs_a_known_ending(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="must end in .*safetensors.*save_file"):
        MobileNetV2(SHAPE, weights=path)
