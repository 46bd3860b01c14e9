"""Anchors against plain loops over the formulae of their sources."""

import json
import math

import keras
import numpy as np
import pytest

from mobilequant.tasks.detection import AnchorSettings, anchors_per_cell, make_anchors

SIZES = [(5, 7), (3, 4), (2, 2), (1, 1)]
IMAGE = (160, 224)


def boxes(cells):
    """Corners of (centre y, centre x, height, width)."""
    return np.array([(y - h / 2, x - w / 2, y + h / 2, x + w / 2) for y, x, h, w in cells])


def test_torchvision():
    """`DefaultBoxGenerator([[2, 3]] * levels, min_ratio=0.2, max_ratio=0.95)`."""
    scales = [0.2 + (0.95 - 0.2) * k / (len(SIZES) - 1) for k in range(len(SIZES))] + [1.0]
    expected = []
    for k, (rows, columns) in enumerate(SIZES):
        extra = math.sqrt(scales[k] * scales[k + 1])
        pairs = [(scales[k], scales[k]), (extra, extra)]  # (width, height)
        for ratio in (2, 3):
            w, h = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
            pairs += [(w, h), (h, w)]
        for i in range(rows):
            for j in range(columns):
                for w, h in pairs:
                    centre = (i + 0.5) / rows, (j + 0.5) / columns
                    expected.append((*centre, min(h, 1), min(w, 1)))
    anchors = make_anchors(AnchorSettings(), SIZES, IMAGE)
    assert anchors.dtype == "float32"
    np.testing.assert_allclose(anchors, boxes(expected), atol=1e-6)
    assert anchors_per_cell(AnchorSettings(), 4) == [6, 6, 6, 6]


def test_detection_api():
    """`ssd_anchor_generator` with the lowest layer reduced, square boxes square in pixels."""
    scales = [0.2 + (0.95 - 0.2) * k / (len(SIZES) - 1) for k in range(len(SIZES))] + [1.0]
    expected = []
    for k, (rows, columns) in enumerate(SIZES):
        specs = [(scales[k], ratio) for ratio in (1, 2, 0.5, 3, 1 / 3)]
        specs += [(math.sqrt(scales[k] * scales[k + 1]), 1)]
        if k == 0:
            specs = [(0.1, 1), (scales[0], 2), (scales[0], 0.5)]
        for i in range(rows):
            for j in range(columns):
                for scale, ratio in specs:
                    pixels = scale * min(IMAGE)
                    h, w = pixels / math.sqrt(ratio), pixels * math.sqrt(ratio)
                    centre = (i + 0.5) / rows, (j + 0.5) / columns
                    expected.append((*centre, h / IMAGE[0], w / IMAGE[1]))
    settings = AnchorSettings.detection_api()
    assert anchors_per_cell(settings, 4) == [3, 6, 6, 6]
    np.testing.assert_allclose(make_anchors(settings, SIZES, IMAGE), boxes(expected), atol=1e-6)


def test_the_paper_with_strides_and_offsets():
    """Scales, ratios and strides by level, as SSD300's own configuration has them."""
    settings = AnchorSettings(
        scales=(0.1, 0.2),
        last_scale=0.4,
        aspect_ratios=((1, 2, 1 / 2), (1, 2, 1 / 2, 3, 1 / 3)),
        extra_box="last",
        strides=(8, 16),
        offsets=((0.5, 0.5), (0.0, 0.25)),
        clip_sizes=False,
        clip=True,
    )
    anchors = make_anchors(settings, [(4, 4), (2, 2)], (32, 32))
    assert len(anchors) == 16 * 4 + 4 * 6
    extra = math.sqrt(0.1 * 0.2)
    np.testing.assert_allclose(
        anchors[5 * 4 + 3], boxes([(12 / 32, 12 / 32, extra, extra)])[0], atol=1e-6
    )
    wide = boxes([(16 / 32, 20 / 32, 0.2 / math.sqrt(3), 0.2 * math.sqrt(3))])[0]
    np.testing.assert_allclose(anchors[64 + 3 * 6 + 3], wide.clip(0, 1), atol=1e-6)
    assert anchors.min() == 0 and anchors.max() <= 1


def test_multiscale():
    """`multiscale_anchor_generator`: areas of squares of 4·2^l pixels and half an octave more."""
    settings = AnchorSettings.multiscale((64, 96), (3, 4))
    anchors = make_anchors(settings, [(8, 12), (4, 6)], (64, 96)) * [64, 96, 64, 96]
    height, width = (anchors[:, 2:] - anchors[:, :2]).T
    np.testing.assert_allclose(
        np.sqrt(height * width)[: 8 * 12 * 6], np.tile([32, 32 * 2**0.5], 8 * 12 * 3), rtol=1e-5
    )
    np.testing.assert_allclose((width / height)[:6], [1, 1, 2, 2, 0.5, 0.5], rtol=1e-5)
    np.testing.assert_allclose((anchors[-1, :2] + anchors[-1, 2:]) / 2, (56, 88), rtol=1e-5)
    # 40 is no multiple of 16: the second level begins at the edge.
    odd = make_anchors(AnchorSettings.multiscale((40, 40), (3, 4)), [(5, 5), (3, 3)], (40, 40))
    assert (odd[-1, 0] + odd[-1, 2]) / 2 == pytest.approx(32 / 40)


def test_one_level_and_no_extra_box():
    settings = AnchorSettings(min_scale=0.5, aspect_ratios=(1.0,), extra_box=None)
    np.testing.assert_allclose(
        make_anchors(settings, [(1, 2)], (8, 16)),
        [[0.25, 0.0, 0.75, 0.5], [0.25, 0.5, 0.75, 1.0]],
    )


def test_settings_survive_json():
    settings = AnchorSettings.multiscale((64, 96), (3, 5))
    config = json.loads(json.dumps(settings.get_config()))
    assert AnchorSettings.from_config(config) == settings
    assert hash(AnchorSettings.from_config(config)) == hash(settings)
    saved = keras.saving.serialize_keras_object(settings)
    assert keras.saving.deserialize_keras_object(saved) == settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_scale": 0.0}, "min_scale must be above 0, got 0.0"),
        ({"aspect_ratios": (1.0, -2.0)}, "aspect_ratios must be above 0, got -2.0"),
        ({"aspect_ratios": (), "extra_box": None}, "aspect_ratios is empty"),
        ({"extra_box": "first"}, "extra_box='first' must be one of"),
        ({"reference": "height"}, "reference='height' must be one of"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        AnchorSettings(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"scales": (0.1, 0.2)},
        {"strides": (8.0,)},
        {"aspect_ratios": ((1.0,),) * 3},
        {"offsets": ((0.5, 0.5),)},
        {"shapes": (((0.1, 1.0),),)},
    ],
)
def test_settings_for_other_levels(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} is given for .* levels, and there are 4"):
        make_anchors(AnchorSettings(**options), SIZES, IMAGE)
