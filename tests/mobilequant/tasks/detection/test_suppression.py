"""Suppression against a loop in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.tasks.detection import iou, suppress


def loop(boxes, scores, score_threshold, iou_threshold, most):
    """(score, class, anchor) of one image, the best first."""
    overlap = iou(boxes, boxes).numpy()
    found = []
    for c in range(scores.shape[1]):
        kept = []
        for i in np.argsort(-scores[:, c], kind="stable"):
            free = all(overlap[i, j] <= iou_threshold for j in kept)
            if scores[i, c] > score_threshold and free and len(kept) < most:
                kept.append(i)
        found += [(scores[i, c], c, i) for i in kept]
    return sorted(found, key=lambda item: -item[0])[:most]  # equal ones: first class, first anchor


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([3, 20]),
    st.sampled_from([0.3, 0.6]),
    st.sampled_from([4, 2**20]),
)
@settings(max_examples=30, deadline=None)
def test_against_a_loop(seed, most, threshold, levels):
    """With few levels many scores are equal, as those of integers are."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-0.1, 0.6, (2, 30, 2))
    size = rng.uniform(0.05, 0.5, (2, 30, 2))
    boxes = np.concatenate([low, low + size], axis=-1).astype("float32")
    scores = (rng.integers(0, levels, (2, 30, 3)) / levels).astype("float32")
    result = suppress(
        boxes, scores, score_threshold=0.4, iou_threshold=threshold, max_detections=most
    )
    for image in range(2):
        expected = loop(boxes[image], scores[image], 0.4, threshold, most)
        count = len(expected)
        assert result.counts[image] == count
        for i, (score, c, anchor) in enumerate(expected):
            assert result.scores[image, i] == score and result.classes[image, i] == c
            np.testing.assert_array_equal(result.boxes[image, i], boxes[image, anchor])
        assert (result.classes[image, count:].numpy() == -1).all()
        assert not result.boxes[image, count:].numpy().any()


def test_nothing_above_the_threshold():
    found = suppress(np.zeros((1, 5, 4), "float32"), np.zeros((1, 5, 2), "float32"))
    assert found.counts == [0] and (found.classes.numpy() == -1).all()


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"got \(1, 5, 4\) and \(1, 6, 2\)"):
        suppress(np.zeros((1, 5, 4)), np.zeros((1, 6, 2)))
