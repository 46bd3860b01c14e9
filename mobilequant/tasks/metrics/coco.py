"""COCO's mean average precision, computed by pycocotools."""

import contextlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mobilequant.extras import require_pycocotools


@dataclass(frozen=True)
class CocoResult:
    """Average precisions, from 0 to 1; NaN where there was no object to find.

    Attributes:
        mean: mean over classes and the thresholds 0.50, 0.55, …, 0.95 of intersection over union:
            "AP" of the COCO challenge.
        at_50: mean over classes at the threshold 0.50.
        at_75: mean over classes at the threshold 0.75.
        per_class: (classes,), mean over the thresholds.
        per_class_at_50: (classes,), at the threshold 0.50.
    """

    mean: float
    at_50: float
    at_75: float
    per_class: np.ndarray
    per_class_at_50: np.ndarray


def coco_map(
    ground_truth: Iterable[Mapping],
    detections: Iterable[Mapping],
    classes: int,
    *,
    max_detections: int = 100,
) -> CocoResult:
    """Mean average precision of detections, whatever made them: Keras, a `.tflite` file, another.

    Args:
        ground_truth: for each image `boxes` (objects, 4), (ymin, xmin, ymax, xmax), `labels`
            (objects,), and perhaps `crowd` (objects,): objects that are neither to be found nor
            wrong to be found. Objects with a negative label are padding.
        detections: for the same images in the same order `boxes` (detections, 4), `scores`
            (detections,) and `labels` (detections,). Those with a negative label are padding.
        classes: labels are 0 to classes − 1.
        max_detections: those of highest score count, for each image and class.

    Raises:
        ValueError: there are not as many detections as images, shapes do not fit, or a label is
            not among the classes.
        ImportError: pycocotools is missing.
    """
    require_pycocotools("COCO metrics")
    truths = [_objects(item, classes, "ground_truth", ("crowd",)) for item in ground_truth]
    found = [_objects(item, classes, "detections", ("scores",)) for item in detections]
    if len(truths) != len(found):
        raise ValueError(f"ground_truth has {len(truths)} images, detections {len(found)}")
    precision = _evaluate(truths, found, classes, max_detections)
    return CocoResult(
        mean=_mean(precision),
        at_50=_mean(precision[0]),
        at_75=_mean(precision[5]),
        per_class=np.array([_mean(precision[:, :, c]) for c in range(classes)]),
        per_class_at_50=np.array([_mean(precision[0, :, c]) for c in range(classes)]),
    )


def _objects(item: Mapping, classes: int, name: str, extra: tuple[str, ...]) -> dict:
    """The objects of one image without padding."""
    boxes = np.asarray(item["boxes"], np.float64).reshape(-1, 4)
    labels = np.asarray(item["labels"]).reshape(-1)
    if name == "ground_truth":
        rest = {key: np.asarray(item.get(key, np.zeros(len(labels), bool))) for key in extra}
    else:
        rest = {key: np.asarray(item[key], np.float64) for key in extra}
    if any(len(values) != len(boxes) for values in (labels, *rest.values())):
        raise ValueError(
            f"{name}: {len(boxes)} boxes, {len(labels)} labels, "
            + ", ".join(f"{len(values)} {key}" for key, values in rest.items())
        )
    real = labels >= 0
    if np.any(labels[real] >= classes):
        raise ValueError(f"{name}: label {labels.max()}, but there are {classes} classes")
    kept = {"boxes": boxes, "labels": labels.astype(int), **rest}
    return {key: values[real] for key, values in kept.items()}


def _evaluate(truths: list, found: list, classes: int, max_detections: int) -> np.ndarray:
    """Precisions (thresholds, recalls, classes); −1 where there is nothing to find."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth, result = COCO(), COCO()
        images = [{"id": number} for number in range(len(truths))]
        categories = [{"id": label} for label in range(classes)]
        for data, items in ((truth, truths), (result, found)):
            data.dataset = {
                "images": images,
                "categories": categories,
                "annotations": _annotations(items),
            }
            data.createIndex()
        evaluation = COCOeval(truth, result, "bbox")
        evaluation.params.areaRng = [[0.0, np.inf]]  # boxes are shares of the image, not pixels
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 0]


def _annotations(items: list) -> list[dict]:
    result = []
    for image, item in enumerate(items):
        scores = item.get("scores", np.ones(len(item["boxes"])))
        crowd = item.get("crowd", np.zeros(len(item["boxes"])))
        for (top, left, bottom, right), label, score, many in zip(
            item["boxes"], item["labels"], scores, crowd, strict=True
        ):
            result.append(
                {
                    "id": len(result) + 1,  # 0 stands for "not matched"
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": int(many),
                    "score": float(score),
                }
            )
    return result


def _mean(precision: np.ndarray) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")
