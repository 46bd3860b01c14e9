"""Matching against greedy loops, and what must hold for any boxes."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.tasks.detection import (
    BACKGROUND,
    IGNORED,
    AnchorSettings,
    Targets,
    decode,
    iou,
    make_anchors,
    match,
)

ANCHORS = make_anchors(AnchorSettings(), [(4, 4), (2, 2), (1, 1)], (32, 32))


def random_boxes(rng, count):
    low = rng.uniform(0, 0.8, (count, 2))
    size = rng.uniform(0.02, 0.6, (count, 2))
    return np.concatenate([low, np.minimum(low + size, 1)], axis=-1).astype("float32")


def loop_iou(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return height * width / (sum(areas) - height * width)


def loop_match(boxes, anchors, positive, negative):
    """Thresholds, then of all pairs the one that overlaps most, as long as there are any."""
    overlap = np.array([[loop_iou(b, a) for a in anchors] for b in boxes])
    best = overlap.max(0)
    matches = np.where(best < negative, BACKGROUND, IGNORED)
    matches = np.where(best >= positive, overlap.argmax(0), matches)
    while overlap.max() > 0:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        matches[column] = row
        overlap[row], overlap[:, column] = 0, 0
    return matches


def test_iou():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 20), random_boxes(rng, 30)
    expected = [[loop_iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(iou(a, b), expected, atol=1e-6)
    assert not iou(np.zeros((1, 4), "float32"), b).numpy().any()


@given(st.integers(0, 2**32 - 1), st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_against_loops(seed, count):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count)
    # Not on a regular grid, where two anchors around one small box overlap it equally.
    anchors = random_boxes(rng, 60)
    expected = loop_match(boxes.astype("float64"), anchors.astype("float64"), 0.5, 0.4)
    labels = np.arange(count)[None]
    mine = match(boxes[None], labels, anchors, positive_iou=0.5, negative_iou=0.4)[0]
    np.testing.assert_array_equal(mine, expected)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(-1, 3), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_every_object_has_an_anchor_and_padding_none(seed, labels):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, len(labels))  # padding with boxes too: the label decides
    matches = match(boxes[None], np.array([labels]), ANCHORS)[0].numpy()
    objects = {i for i, label in enumerate(labels) if label >= 0}
    assert set(matches[matches >= 0]) == objects
    assert (matches != IGNORED).all()


def test_objects_at_one_place_get_an_anchor_each():
    boxes = np.tile(ANCHORS[10], (1, 5, 1)) + np.linspace(0, 1e-3, 5)[None, :, None]
    matches = match(boxes, np.zeros((1, 5)), ANCHORS, positive_iou=0.99)[0].numpy()
    assert sorted(matches[matches >= 0]) == [0, 1, 2, 3, 4]
    assert matches[10] == 0


def test_without_force_small_objects_have_none():
    tiny = np.array([[[0.5, 0.5, 0.51, 0.51]]], "float32")
    assert (match(tiny, [[0]], ANCHORS, force=False) == BACKGROUND).numpy().all()
    assert (match(tiny, [[0]], ANCHORS).numpy() == 0).sum() == 1


@pytest.mark.parametrize("count", [0, 3])
def test_an_image_without_objects_is_all_background(count):
    matches = match(np.zeros((2, count, 4)), np.full((2, count), -1), ANCHORS)
    assert (matches == BACKGROUND).numpy().all()


def test_boxes_without_an_area_match_nothing():
    line = np.array([[[0.2, 0.2, 0.2, 0.8], [0.6, 0.6, 0.5, 0.5]]], "float32")
    assert (match(line, [[0, 1]], ANCHORS) == BACKGROUND).numpy().all()


def test_crowds_are_ignored():
    boxes = np.array([[[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.5, 0.5]]], "float32")
    crowd = np.array([[True, False]])
    matches = match(boxes, [[0, 0]], ANCHORS, crowd=crowd)[0].numpy()
    assert 0 not in matches and 1 in matches
    inside = [loop_iou(a, [0, 0, 0.5, 1]) > 0 for a in ANCHORS]
    area = [(a[2] - a[0]) * (a[3] - a[1]) for a in ANCHORS]
    common = [
        max(min(a[2], 0.5) - max(a[0], 0), 0) * (min(a[3], 1) - max(a[1], 0)) for a in ANCHORS
    ]
    covered = np.array(common) / area >= 0.5
    np.testing.assert_array_equal(matches == IGNORED, covered & (matches != 1))
    assert covered.sum() < sum(inside)


def test_thresholds_must_not_cross():
    with pytest.raises(ValueError, match="negative_iou=0.6 must be at most positive_iou=0.5"):
        match(np.zeros((1, 1, 4)), [[0]], ANCHORS, negative_iou=0.6)


def test_targets_decode_to_the_objects():
    rng = np.random.default_rng(0)
    boxes, labels = random_boxes(rng, 6)[None], np.array([[2, 0, 1, -1, 2, -1]])
    images, targets = Targets(ANCHORS)("images", {"boxes": boxes, "labels": labels})
    matches = match(boxes, labels, ANCHORS)[0].numpy()
    assert images == "images"
    codes, scores = targets["boxes"][0].numpy(), targets["scores"][0].numpy()
    np.testing.assert_array_equal(codes[:, 4], matches >= 0)
    matched = matches >= 0
    np.testing.assert_array_equal(scores[matched], labels[0][matches[matched]] + 1)
    assert not scores[~matched].any() and not codes[~matched].any()
    decoded = decode(codes[matched, :4], ANCHORS[matched])
    np.testing.assert_allclose(decoded, boxes[0][matches[matched]], atol=1e-5)


def test_targets_are_mapped_over_a_pipeline():
    """Batches of any number of objects, none among them, crowds, and single images."""
    rng = np.random.default_rng(0)

    def objects():
        for count in (3, 0, 5):
            yield (
                np.zeros((8, 8, 3), "float32"),
                {
                    "boxes": random_boxes(rng, count),
                    "labels": np.zeros(count, "int64"),
                    "crowd": np.arange(count) == 1,
                },
            )

    signature = (
        tf.TensorSpec((8, 8, 3)),
        {
            "boxes": tf.TensorSpec((None, 4)),
            "labels": tf.TensorSpec((None,), "int64"),
            "crowd": tf.TensorSpec((None,), "bool"),
        },
    )
    single = tf.data.Dataset.from_generator(objects, output_signature=signature)
    targets = Targets(ANCHORS, crowd_share=0.3)
    one_by_one = [target for _, target in single.map(targets)]
    rng = np.random.default_rng(0)
    fill = (0.0, {"boxes": 0.0, "labels": np.int64(-1), "crowd": False})
    batches = single.padded_batch(3, padding_values=fill).map(targets)
    (_, together), *_ = batches
    assert batches.element_spec[1]["boxes"].shape[1:] == (len(ANCHORS), 5)
    for i, target in enumerate(one_by_one):
        for name in ("boxes", "scores"):
            np.testing.assert_array_equal(target[name], together[name][i])
    assert (one_by_one[0]["scores"].numpy() == -1).any()
    assert not one_by_one[1]["scores"].numpy().any()


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"boxes": np.zeros((1, 1, 4))}, "need 'labels'; the data set gives 'boxes'"),
        ({"boxes": np.zeros((1, 1, 5)), "labels": [[0]]}, r"got \(1, 1, 5\)"),
        ({"boxes": np.zeros((1, 1, 4)), "labels": [0]}, r"and \(1,\)"),
    ],
)
def test_targets_of_wrong_objects(objects, message):
    with pytest.raises(ValueError, match=message):
        Targets(ANCHORS)(None, objects)
