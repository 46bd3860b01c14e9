"""Networks that others saved, with the outputs that they must give.

The bound is 1e-3 of the reference's standard deviation; measured are about 1e-5.
"""

import keras
import numpy as np
import pytest

from mobilequant.models import GARDEN, LRASPP, SSDLite
from mobilequant.tasks.detection import Detector

load_file = pytest.importorskip("safetensors.numpy").load_file

BOUND = 1e-3
#: Files of timm: builder, width, padding and epsilon that importing must set.
TIMM = {
    "mobilenetv2_035": ("MobileNetV2", 0.35, "symmetric", 1e-5),
    "tf_mobilenetv3_small_075": ("MobileNetV3Small", 0.75, "same", 1e-3),
    "mobilenetv4_conv_small_035": ("MobileNetV4ConvSmall", 0.35, "symmetric", 1e-5),
    "mobilenetv4_hybrid_medium_075": ("MobileNetV4HybridMedium", 0.75, "symmetric", 1e-5),
}


@pytest.fixture(scope="module")
def golden(shared):
    def load(name):
        folder = shared / "reference/goldens"
        facts = load_file(folder / f"{name}.io.safetensors")
        facts = {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in facts.items()}
        return folder / f"{name}.safetensors", facts

    return load


def _difference(actual, expected) -> float:
    """The largest difference, in standard deviations of the reference."""
    assert actual.shape == expected.shape
    return float(np.abs(np.array(actual) - expected).max() / expected.std())


@pytest.mark.parametrize("name", TIMM)
def test_timm(golden, name):
    path, expected = golden(name)
    builder, alpha, padding, epsilon = TIMM[name]
    shape = expected["input"].shape[1:]
    model = GARDEN[builder](shape, alpha=alpha, weights=path, classifier_activation=None)
    assert _difference(model(expected["input"]), expected["logits"]) < BOUND
    backbone = GARDEN[builder](shape, alpha=alpha, weights=path, include_top=False)
    assert _difference(backbone(expected["input"]), expected["features"]) < BOUND

    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {norm.epsilon for norm in norms} == {epsilon}
    pads = [x for x in model.layers if isinstance(x, keras.layers.ZeroPadding2D)]
    assert bool(pads) == (padding == "symmetric")


def test_given_padding_and_epsilon_win(golden):
    path, expected = golden("tf_mobilenetv3_small_075")
    shape = expected["input"].shape[1:]
    build = GARDEN["MobileNetV3Small"]
    other = build(shape, alpha=0.75, weights=path, include_top=False, padding="symmetric")
    assert _difference(other(expected["input"]), expected["features"]) > BOUND
    assert other.get_layer("conv_bn").epsilon == 1e-3


@pytest.mark.parametrize("output", ["head", "logits"])
def test_torchvision_segmentation(golden, output):
    path, expected = golden("lraspp_mobilenet_v3_large")
    options = {"input_shape": expected["input"].shape[1:], "weights": path, "output": output}
    model = LRASPP("MobileNetV3Large", 21, **options)
    wanted = expected["head" if output == "head" else "out"]
    assert _difference(model(expected["input"]), wanted) < BOUND
    own = LRASPP("MobileNetV3Large", 5, reset_classes=True, **options)
    assert own.output_shape[-1] == 5
    for layer in ("conv", "head_gate_conv"):
        for a, b in zip(own.get_layer(layer).weights, model.get_layer(layer).weights, strict=True):
            np.testing.assert_array_equal(a, b)


def test_torchvision_detection(golden):
    """SSDLite whole: features, scores, codes (x before y there), anchors and boxes."""
    path, expected = golden("ssdlite320_mobilenet_v3_large")
    image = expected["input"]
    model = SSDLite(
        "MobileNetV3Large", 20, input_shape=image.shape[1:], reduced_tail=True, weights=path
    )
    detector = Detector.of(model)
    outputs = model(image)
    assert _difference(outputs["scores"], expected["cls_logits"]) < BOUND
    swapped = [1, 0, 3, 2]
    assert _difference(outputs["boxes"], expected["bbox_regression"][..., swapped]) < BOUND
    assert _difference(detector.anchors * 320, expected["anchors_xyxy"][:, swapped]) < BOUND
    boxes, scores = detector.decode(outputs, clip=False)
    assert _difference(boxes[0] * 320, expected["decoded_xyxy"][:, swapped]) < BOUND
    assert scores.shape == (1, 3234, 20)

    for level in range(6):
        tensor = model.get_layer(f"level_{level + 1}_boxes_depthwise").input
        means = np.mean(keras.Model(model.input, tensor)(image), (1, 2))
        assert _difference(means, expected[f"feature_{level}_mean_hw"]) < BOUND
