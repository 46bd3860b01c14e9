"""`weights="imagenet"`: the same addresses as `keras.applications`, and files of its layout."""

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from mobilequant.models import GARDEN
from mobilequant.models.weights import imagenet

THEIRS = {
    "MobileNetV1": ("mobilenet", keras.applications.MobileNet),
    "MobileNetV2": ("mobilenet_v2", keras.applications.MobileNetV2),
    "MobileNetV3Large": ("mobilenet_v3", keras.applications.MobileNetV3Large),
    "MobileNetV3Small": ("mobilenet_v3", keras.applications.MobileNetV3Small),
}


class _Asked(Exception):
    """Carries the address that keras.applications asks for."""


def _ask(fname, origin, *args, **kwargs):
    raise _Asked(fname, origin)


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("MobileNetV1", 128, {"alpha": 0.25}),
        ("MobileNetV1", 192, {"alpha": 0.75, "include_top": False}),
        ("MobileNetV1", 224, {"alpha": 1.0}),
        ("MobileNetV2", 96, {"alpha": 0.35, "include_top": False}),
        ("MobileNetV2", 160, {"alpha": 1.0}),
        ("MobileNetV2", 224, {"alpha": 1.3}),
        ("MobileNetV3Large", 224, {"alpha": 0.75}),
        ("MobileNetV3Small", 224, {"alpha": 1.0, "include_top": False}),
        ("MobileNetV3Small", 224, {"minimalistic": True}),
    ],
)
def test_addresses_are_those_of_keras_applications(monkeypatch, name, size, options):
    module, theirs = THEIRS[name]
    monkeypatch.setattr(f"keras.src.applications.{module}.file_utils.get_file", _ask)
    shape = (size, size, 3)
    with pytest.raises(_Asked) as expected:
        theirs(shape, weights="imagenet", **options)
    monkeypatch.setattr(imagenet.keras.utils, "get_file", _ask)
    with pytest.raises(ValueError) as error:
        GARDEN[name](shape, weights="imagenet", **options)
    assert error.value.__cause__.args == expected.value.args


@pytest.mark.parametrize(
    ("name", "file", "options"),
    [
        ("MobileNetV1", "mobilenet_2_5_128_tf.h5", {"alpha": 0.25}),
        ("MobileNetV1", "mobilenet_2_5_128_tf_no_top.h5", {"alpha": 0.25, "include_top": False}),
        (
            "MobileNetV2",
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_128.h5",
            {"alpha": 0.35},
        ),
        (
            "MobileNetV3Small",
            "weights_mobilenet_v3_small_224_0.75_float.h5",
            {"alpha": 0.75},
        ),
        (
            "MobileNetV3Small",
            "weights_mobilenet_v3_small_minimalistic_224_1.0_float_no_top_v2.h5",
            {"minimalistic": True, "include_top": False},
        ),
    ],
)
def test_a_cached_file_of_the_same_layout_loads(
    tmp_path, monkeypatch, randomize, images, name, file, options
):
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    (tmp_path / "models").mkdir()
    extra = {"include_preprocessing": False} if "V3" in name else {}
    theirs = randomize(THEIRS[name][1]((128, 128, 3), weights=None, **options, **extra))
    with h5py.File(tmp_path / "models" / file, "w") as weights:
        legacy_h5_format.save_weights_to_hdf5_group(weights, theirs)
    ours = GARDEN[name]((128, 128, 3), weights="imagenet", **options)
    x = images((128, 128, 3))
    expected = theirs(x, training=False).numpy()
    np.testing.assert_allclose(
        ours(x, training=False), expected, rtol=0, atol=1e-5 * max(1, expected.std())
    )


def test_what_does_not_exist_is_said(monkeypatch):
    with pytest.raises(ValueError, match="alpha 0.75, 1.0, not 0.5"):
        GARDEN["MobileNetV3Large"](alpha=0.5, weights="imagenet")
    with pytest.raises(ValueError, match="alpha 1.0, not 0.75"):
        GARDEN["MobileNetV3Large"](alpha=0.75, minimalistic=True, weights="imagenet")
    with pytest.raises(ValueError, match="hf-hub:timm/"):
        GARDEN["MobileNetEdgeTPU"](weights="imagenet")


def test_no_network_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(imagenet, "_STORE", f"file://{tmp_path}/nowhere/")
    with pytest.raises(ValueError, match="could not be downloaded.*give its path"):
        GARDEN["MobileNetV2"](weights="imagenet")
