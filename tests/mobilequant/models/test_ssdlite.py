"""SSDLite on backbones of all kinds: shapes, anchors, settings and errors."""

import keras
import numpy as np
import pytest

import mobilequant as mq
from mobilequant.models import SSDLite
from mobilequant.tasks.detection import AnchorSettings, Detector

SHAPE = (64, 64, 3)


def backbone(*sizes, shape=SHAPE, structure=list):
    """A functional model with a feature map at each of these strides; quick to build."""
    image = keras.Input(shape, name="photo")
    maps = [
        keras.layers.Conv2D(8, 3, strides=s, padding="same", name=f"stride{s}")(image)
        for s in sizes
    ]
    return keras.Model(image, structure(maps), name="mine")


def output_shapes(model):
    return {name: tuple(tensor.shape[1:]) for name, tensor in model.output.items()}


def test_the_defaults_are_those_of_ssdlite320():
    model = SSDLite("MobileNetV2", 90, input_shape=(320, 320, 3), alpha=0.35)
    sizes = ((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))
    assert Detector.of(model).feature_sizes == sizes
    assert output_shapes(model) == {"boxes": (3234, 4), "scores": (3234, 91)}
    assert model.get_layer("extra_1_pointwise").filters == 512
    assert model.get_layer("block_13_expand_relu").output.shape[1:3] == (20, 20)


@pytest.mark.parametrize(
    ("backbone", "options", "sizes"),
    [
        ("MobileNetV1", {"alpha": 0.25}, [4, 2, 1, 1]),
        ("MobileNetV2", {"alpha": 0.35, "output_stride": 16}, [8, 4, 2, 1]),
        ("MobileNetV3Small", {"alpha": 0.5, "features": ("stride8", "stride32")}, [8, 2, 1, 1]),
        ("MobileNetV4ConvSmall", {"alpha": 0.25, "early_strides": (1, 1)}, [16, 8, 4, 2]),
    ],
)
def test_backbones(backbone, options, sizes):
    model = SSDLite(backbone, 3, input_shape=SHAPE, extra_filters=(32, 16), **options)
    detector = Detector.of(model)
    assert detector.feature_sizes == tuple((n, n) for n in sizes)
    anchors = 6 * sum(n * n for n in sizes)
    assert output_shapes(model) == {"boxes": (anchors, 4), "scores": (anchors, 4)}
    assert detector.anchors.shape == (anchors, 4)


def test_sizes_that_are_not_square_and_odd():
    for options in ({"padding": "symmetric"}, {"neck": "fpn_lite", "neck_levels": (3, 6)}):
        model = SSDLite(backbone(8, 16, 32, shape=(75, 130, 3)), 2, **options)
        outputs = model(np.zeros((1, 75, 130, 3)))
        assert outputs["boxes"].shape[1] == len(Detector.of(model).anchors)
    assert Detector.of(model).feature_sizes == ((10, 17), (5, 9), (3, 5), (2, 3))
    assert Detector.of(model).image_size == (75, 130)


@pytest.mark.parametrize(
    ("options", "sides"),
    [({}, 3), ({"output_stride": 16}, 2), ({"early_strides": (2, 1), "neck_levels": (2, 6)}, 3)],
)
def test_feature_pyramid(options, sides):
    options = {"neck_levels": (3, 7), **options}
    low, high = options["neck_levels"]
    model = SSDLite(
        "MobileNetV2",
        4,
        input_shape=SHAPE,
        alpha=0.35,
        neck="fpn_lite",
        neck_filters=24,
        anchors=AnchorSettings.multiscale(SHAPE[:2], (low, high)),
        scores="sigmoid",
        **options,
    )
    rows = [-(-SHAPE[0] // 2**level) for level in range(low, high + 1)]
    assert [n for n, _ in Detector.of(model).feature_sizes] == rows
    assert output_shapes(model)["scores"] == (6 * sum(n * n for n in rows), 4)
    assert {model.get_layer(f"fpn_{i}_pointwise").filters for i in (1, 2, 3, 4, 5)} == {24}
    # The coarsest features reach the finest level.
    image, finest = model.input, model.get_layer("fpn_1_add").output
    assert f"fpn_{sides}_side" in {x.name for x in keras.Model(image, finest).layers}


def test_the_order_of_anchors_is_that_of_the_outputs():
    """Row by row, column by column, box by box."""
    model = SSDLite(backbone(16, 32), 1, extra_filters=(16,))
    detector = Detector.of(model)
    start = 0
    for level, (rows, columns) in enumerate(detector.feature_sizes, start=1):
        conv = model.get_layer(f"level_{level}_boxes_pointwise")
        maps = keras.Model(model.input, conv.output)(np.ones((1, *SHAPE)))
        boxes = model(np.ones((1, *SHAPE)))["boxes"]
        expected = np.reshape(maps, (rows, columns, 6, 4))
        for row, column, box in np.ndindex(rows, columns, 6):
            place = start + (row * columns + column) * 6 + box
            np.testing.assert_allclose(boxes[0, place], expected[row, column, box], atol=1e-6)
            centre = detector.anchors[place].reshape(2, 2).mean(0)
            np.testing.assert_allclose(
                centre, [(row + 0.5) / rows, (column + 0.5) / columns], atol=1e-6
            )
        start += rows * columns * 6


def test_a_backbone_of_ones_own():
    for structure in (list, tuple, lambda maps: dict(zip("ab", maps, strict=True))):
        own = backbone(8, 4, shape=(32, 48, 3), structure=structure)
        model = SSDLite(own, 2, extra_filters=())
        assert Detector.of(model).feature_sizes == ((8, 12), (4, 6))
    single = SSDLite(backbone(8, structure=lambda maps: maps[0]), 2, extra_filters=(), name="ssd")
    assert output_shapes(single) == {"boxes": (6 * 64, 4), "scores": (6 * 64, 3)}
    assert single.name == "ssd" and single.input.name == "photo"


def test_a_backbone_brings_its_weights(tmp_path):
    classifier = mq.models.MobileNetV2(SHAPE, alpha=0.35)
    classifier.save_weights(tmp_path / "backbone.weights.h5")
    model = SSDLite(
        "MobileNetV2",
        2,
        input_shape=SHAPE,
        alpha=0.35,
        backbone_weights=tmp_path / "backbone.weights.h5",
    )
    name = "block_5_project"
    expected = classifier.get_layer(name).get_weights()[0]
    np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], expected)


def test_settings_reach_backbone_and_head():
    model = SSDLite(
        "MobileNetV3Small",
        2,
        input_shape=SHAPE,
        alpha=0.5,
        activation="relu",
        kernel_size=5,
        padding="symmetric",
        batch_norm_epsilon=1e-2,
        batch_norm_momentum=0.9,
    )
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(n.epsilon, n.momentum) for n in norms} == {(1e-2, 0.9)}
    assert model.get_layer("level_1_boxes_depthwise").kernel_size == (5, 5)
    assert model.get_layer("level_1_boxes_depthwise_relu").max_value is None
    pads = {x.name for x in model.layers if isinstance(x, keras.layers.ZeroPadding2D)}
    assert {"conv_pad", "extra_1_depthwise_pad"} <= pads


def test_sigmoid_scores_begin_small():
    model = SSDLite(backbone(16), 2, extra_filters=(), scores="sigmoid")
    bias = model.get_layer("level_1_scores_pointwise").bias
    np.testing.assert_allclose(1 / (1 + np.exp(-np.array(bias))), 0.01, rtol=1e-5)


def flat_backbone():
    image = keras.Input(SHAPE)
    return keras.Model(image, keras.layers.Flatten()(image), name="flat")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("MobileNetV2", 0), {}, "classes must be a whole number of at least 1, got 0"),
        (("MobileNet", 2), {}, "backbone='MobileNet' must be one of MobileNetEdgeTPU"),
        (("MobileNetV2", 2), {"scores": "relu"}, "scores='relu' must be one of"),
        (("MobileNetV2", 2), {"neck": "fpn"}, "neck='fpn' must be one of"),
        (
            ("MobileNetV2", 2),
            {"input_shape": (None, None, 3), "alpha": 0.35},
            "give input_shape in numbers",
        ),
        (("MobileNetV2", 2), {"weights": "a", "backbone_weights": "b"}, "has no use then"),
        (("MobileNetV2", 2), {"weights": "a", "neck": "fpn_lite"}, "neither a neck nor"),
        (("MobileNetV2", 2), {"features": ("stride64",), "alpha": 0.35}, "features="),
        (("MobileNetV2", 2), {"alfa": 1}, "unexpected keyword argument 'alfa'"),
        ((flat_backbone(), 2), {}, r"'flat' has a tensor of shape \(None, 12288\)"),
        ((flat_backbone(), 2), {"alpha": 0.5}, "alpha need a backbone by its name; 'flat' is"),
        (
            (backbone(8, 16, 64), 2),
            {"neck": "fpn_lite"},
            "half the size of the one before .*, got 8×8, 4×4, 1×1",
        ),
        (
            (backbone(8, 16, 32), 2),
            {"neck": "fpn_lite", "neck_levels": (3, 4)},
            "3 feature maps for 2 levels",
        ),
        (
            (backbone(8), 2),
            {"anchors": AnchorSettings(scales=(0.1, 0.2))},
            "scales is given for 2 levels, and there are 5",
        ),
    ],
)
def test_errors(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SSDLite(*arguments, **options)
