"""Lists of boxes: cutting, mirroring, padding, overlaps against a loop."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mobilequant.data import boxes as box_lists


def some_boxes(low=0.0, high=1.0):
    """Lists of up to six boxes with ordered corners."""
    shapes = st.integers(0, 6).map(lambda count: (count, 2, 2))
    numbers = st.floats(low, high, width=32)
    return npst.arrays(np.float32, shapes, elements=numbers).map(
        lambda corners: np.sort(corners, axis=1).reshape(-1, 4)
    )


@settings(max_examples=30, deadline=None)
@given(some_boxes())
def test_mirroring_twice_changes_nothing(boxes):
    once = box_lists.mirrored(boxes)
    np.testing.assert_allclose(box_lists.mirrored(once), boxes, atol=1e-6)
    np.testing.assert_allclose(box_lists.area(once), box_lists.area(boxes), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(some_boxes(-1, 2))
def test_what_stays_is_inside_and_has_an_area(boxes):
    objects = {"boxes": tf.constant(boxes), "labels": tf.range(len(boxes))}
    result = box_lists.inside(objects)
    kept, labels = np.asarray(result["boxes"]), np.asarray(result["labels"])
    assert np.all((kept >= 0) & (kept <= 1)) and np.all(kept[:, :2] < kept[:, 2:])
    np.testing.assert_array_equal(kept, boxes[labels].clip(0, 1))
    cut = boxes.clip(0, 1)
    expected = [n for n, box in enumerate(cut) if box[0] < box[2] and box[1] < box[3]]
    assert list(labels) == expected


def test_what_never_was_a_box_is_dropped():
    boxes = [[0.5, 0.5, 0.2, 0.9], [0.1, np.nan, 0.2, 0.3], [0.2, 0.2, 0.2, 0.9], [0, 0, 1, 1]]
    objects = {"boxes": tf.constant(boxes), "labels": tf.range(4)}
    assert list(box_lists.inside(objects)["labels"].numpy()) == [3]


@settings(max_examples=30, deadline=None)
@given(some_boxes(), some_boxes())
def test_overlaps_are_those_of_a_loop(one, other):
    def overlap(a, b):
        sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        shared = np.prod(np.maximum(sides, 0))
        both = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
        return shared / both if both > 0 else 0.0

    found = np.asarray(box_lists.intersection_over_union(one, other))
    expected = np.array([[overlap(a, b) for b in other] for a in one]).reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def objects_of(sides, crowd=None):
    """Boxes at the corner with given sides, labelled 0, 1, …."""
    boxes = [[0, 0, side, side] for side in sides]
    objects = {
        "boxes": tf.reshape(tf.constant(boxes, tf.float32), (-1, 4)),
        "labels": tf.range(len(sides)),
    }
    return objects if crowd is None else {**objects, "crowd": tf.constant(crowd)}


def test_lists_are_filled_up():
    result = box_lists.padded(objects_of([0.5, 0.4], [True, False]), 4)
    assert result["boxes"].shape == (4, 4) and not np.any(result["boxes"][2:])
    assert list(result["labels"].numpy()) == [0, 1, -1, -1]
    assert list(result["crowd"].numpy()) == [True, False, False, False]
    nothing = box_lists.padded(objects_of([]), 3)
    assert list(nothing["labels"].numpy()) == [-1, -1, -1]


def test_the_largest_stay_in_their_order_and_crowds_go_first():
    assert list(box_lists.padded(objects_of([0.1, 0.9, 0.2, 0.8]), 2)["labels"].numpy()) == [1, 3]
    result = box_lists.padded(objects_of([0.1, 0.9, 0.2], [False, True, False]), 2)
    assert list(result["labels"].numpy()) == [0, 2]
