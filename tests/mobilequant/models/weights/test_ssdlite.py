"""torchvision's SSDLite files that do not fit, and other classes than theirs."""

import numpy as np
import pytest

from mobilequant.models import SSDLite

safetensors = pytest.importorskip("safetensors.numpy")
NAME = "reference/goldens/ssdlite320_mobilenet_v3_large.safetensors"


def build(weights, classes=20, **options):
    options = {"input_shape": (64, 64, 3), "reduced_tail": True, **options}
    return SSDLite("MobileNetV3Large", classes, weights=weights, **options)


def test_other_classes(shared):
    path = shared / NAME
    with pytest.raises(ValueError, match="build with classes=20, or with reset_classes=True"):
        build(path, classes=3)
    model = build(path, classes=3, reset_classes=True)
    stored = safetensors.load_file(path)
    depthwise = stored["head.classification_head.module_list.2.0.0.weight"].transpose(2, 3, 0, 1)
    kernel = model.get_layer("level_3_scores_depthwise").get_weights()[0]
    np.testing.assert_array_equal(kernel, depthwise.astype("float32"))
    assert model.get_layer("level_3_scores_pointwise").filters == 6 * 4
    assert not np.any(model.get_layer("level_3_scores_pointwise").bias)


def test_other_layers(shared, tmp_path):
    path = shared / NAME
    with pytest.raises(ValueError, match="of another shape: .*extra.0"):
        build(path, extra_filters=(256, 256, 256, 128))
    with pytest.raises(ValueError, match="in the file but not in the model: backbone.extra.3"):
        build(path, extra_filters=(512, 256, 256))
    tensors = safetensors.load_file(path)
    backbone = {key: value for key, value in tensors.items() if key.startswith("backbone.feat")}
    safetensors.save_file(backbone, tmp_path / "backbone.safetensors")
    with pytest.raises(ValueError, match="It is no file of torchvision's SSDLite"):
        build(tmp_path / "backbone.safetensors")
    with pytest.raises(ValueError, match="there is no such file"):
        build(tmp_path / "nothing.safetensors")


def test_the_backbone_of_a_detector_under_another_head(shared):
    """A file may give the backbone alone; the head stays random."""
    model = SSDLite(
        "MobileNetV3Large",
        2,
        input_shape=(64, 64, 3),
        reduced_tail=True,
        backbone_weights=shared / NAME,
        extra_filters=(32,),
    )
    stem = safetensors.load_file(shared / NAME)["backbone.features.0.0.0.weight"]
    kernel = model.get_layer("conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, stem.transpose(2, 3, 1, 0).astype("float32"))
