"""COCO's mean average precision: cases computed by hand, and pycocotools on JSON files."""

import json
import sys

import numpy as np
import pytest

from mobilequant.tasks.metrics import coco_map

A, B = [0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9]

# pycocotools adds the least of numbers to a divisor.
ONE = pytest.approx(1.0, abs=1e-12)


def truth(*boxes, labels=None, **rest):
    labels = [0] * len(boxes) if labels is None else labels
    return {"boxes": np.reshape(boxes, (-1, 4)), "labels": np.array(labels), **rest}


def found(*boxes, labels=None, scores=None):
    scores = np.linspace(0.9, 0.5, len(boxes)) if scores is None else scores
    return {**truth(*boxes, labels=labels), "scores": np.array(scores)}


def test_perfect_detections():
    truths = [truth(A, B, labels=[0, 2]), truth(A)]
    result = coco_map(truths, [found(A, B, labels=[0, 2]), found(A)], 3)
    assert (result.mean, result.at_50, result.at_75) == (ONE, ONE, ONE)
    # Nobody asked for class 1.
    np.testing.assert_allclose(result.per_class, [1.0, np.nan, 1.0])
    np.testing.assert_allclose(result.per_class_at_50, [1.0, np.nan, 1.0])


def test_a_duplicate_is_wrong_where_it_comes_first():
    # Two objects; of three detections the second finds the first object again. Precision is 1 up
    # to recall 1/2 (51 of the 101 recalls) and 2/3 after it.
    result = coco_map([truth(A, B)], [found(A, A, B)], 1)
    assert result.mean == pytest.approx((51 + 50 * 2 / 3) / 101)
    # As the last one it changes nothing.
    assert coco_map([truth(A, B)], [found(A, B, A)], 1).mean == ONE


def test_the_right_box_of_the_wrong_class():
    assert coco_map([truth(A)], [found(A, labels=[1])], 2).mean == 0.0


def test_the_thresholds():
    # Overlap 0.72: right at 0.50, 0.55, …, 0.70, which are five of ten.
    box = [0.1, 0.1, 0.1 + 0.4 * 0.72, 0.5]
    result = coco_map([truth(A)], [found(box)], 1)
    assert (result.mean, result.at_50, result.at_75) == (pytest.approx(0.5), ONE, 0.0)


def test_nothing_to_find_and_nothing_found():
    nothing = found()
    assert np.isnan(coco_map([truth()], [nothing], 2).mean)
    assert np.isnan(coco_map([], [], 2).mean)
    assert np.isnan(coco_map([truth()], [found(A)], 2).mean)
    assert coco_map([truth(A)], [nothing], 2).mean == 0.0


def test_a_detection_where_there_is_nothing_costs_precision():
    images = [truth(A), truth()]
    assert coco_map(
        images, [found(A, scores=[0.5]), found(B, scores=[0.9])], 1
    ).mean == pytest.approx(0.5)


def test_crowds_are_neither_found_nor_wrong():
    crowd = truth(A, B, crowd=np.array([False, True]))
    inside = [0.6, 0.6, 0.7, 0.7]  # a small part of the crowd, several times
    detections = found(inside, inside, A, scores=[0.9, 0.8, 0.7])
    assert coco_map([crowd], [detections], 1).mean == ONE
    assert coco_map([truth(A, B)], [detections], 1).mean < 0.5
    assert np.isnan(coco_map([truth(B, crowd=np.array([True]))], [found(B)], 1).mean)


def test_padding_does_not_count():
    padded = truth(A, [0, 0, 0, 0], [0, 0, 0, 0], labels=[1, -1, -1])
    detections = found(A, [0, 0, 0, 0], labels=[1, -1], scores=[0.3, 0.9])
    assert coco_map([padded], [detections], 2).mean == ONE


def test_only_the_best_detections_count():
    detections = found(B, A, scores=[0.9, 0.8])
    assert coco_map([truth(A)], [detections], 1, max_detections=1).mean == 0.0
    assert coco_map([truth(A)], [detections], 1, max_detections=2).mean == pytest.approx(0.5)


def test_it_is_what_pycocotools_computes_from_files(tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    height, width = 480, 640  # of all images; in files boxes are in pixels
    rng = np.random.default_rng(1)
    truths, detections, annotations, results = [], [], [], []
    for image in range(12):
        corners = rng.uniform(0, 0.6, (6, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.4, (6, 2))], axis=1)
        labels = rng.integers(0, 3, 6)
        crowd = rng.random(6) < 0.2
        noisy = boxes + rng.normal(0, 0.02, boxes.shape)
        noisy = np.concatenate([noisy, noisy[:2]])
        guesses = np.where(rng.random(8) < 0.8, np.append(labels, labels[:2]), 0)
        scores = rng.random(8)
        truths.append({"boxes": boxes, "labels": labels, "crowd": crowd})
        detections.append({"boxes": noisy, "labels": guesses, "scores": scores})

        def pixels(box):
            top, left, bottom, right = (box * [height, width, height, width]).tolist()
            return [left, top, right - left, bottom - top]

        for box, label, many in zip(boxes, labels, crowd, strict=True):
            own = pixels(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label) + 1,
                    "bbox": own,
                    "area": own[2] * own[3],
                    "iscrowd": int(many),
                }
            )
        for box, label, score in zip(noisy, guesses, scores, strict=True):
            results.append(
                {
                    "image_id": image,
                    "category_id": int(label) + 1,
                    "bbox": pixels(box),
                    "score": float(score),
                }
            )
    content = {
        "images": [{"id": image, "height": height, "width": width} for image in range(12)],
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": str(label)} for label in range(3)],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "found.json").write_text(json.dumps(results))
    reference = COCO(tmp_path / "truth.json")
    evaluation = COCOeval(reference, reference.loadRes(str(tmp_path / "found.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()

    result = coco_map(truths, detections, 3)
    assert 0.1 < result.mean < 0.9
    np.testing.assert_allclose(
        [result.mean, result.at_50, result.at_75], evaluation.stats[:3], rtol=1e-9
    )


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="ground_truth has 2 images, detections 1"):
        coco_map([truth(A), truth(A)], [found(A)], 1)
    with pytest.raises(ValueError, match="detections: label 3, but there are 2 classes"):
        coco_map([truth(A)], [found(A, labels=[3])], 2)
    with pytest.raises(ValueError, match="detections: 2 boxes, 2 labels, 1 scores"):
        coco_map([truth(A)], [found(A, B, scores=[0.5])], 1)


def test_a_missing_pycocotools_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "mobilequant\[detection\]"'):
        coco_map([], [], 1)
