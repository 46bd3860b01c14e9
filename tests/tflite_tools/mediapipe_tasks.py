"""MediaPipe's tasks on images; runs in an environment of its own, which has no TensorFlow.

    python mediapipe_tasks.py TASK MODEL.tflite IMAGES.npy RESULTS.npz

Images are uint8 (count, height, width, 3). Each image's result is an array: of a classifier rows
of (class, score); of a detector (class, score, left, top, width, height) in pixels; of a segmenter
confidences (height, width, classes) and, in "masks", classes (height, width). "labels" has the
name of each class that came up.
"""

import sys

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision


def classify(model, images, names):
    """Rows of (class, score), the best first."""
    options = vision.ImageClassifierOptions(base_options=model)
    with vision.ImageClassifier.create_from_options(options) as task:
        for image in images:
            (head,) = task.classify(image).classifications
            names.update({c.index: c.category_name for c in head.categories})
            yield {"results": np.array([(c.index, c.score) for c in head.categories])}


def detect(model, images, names):
    """Rows of (class, score, left, top, width, height)."""
    options = vision.ObjectDetectorOptions(base_options=model)
    with vision.ObjectDetector.create_from_options(options) as task:
        for image in images:
            rows = []
            for found in task.detect(image).detections:
                (category,), box = found.categories, found.bounding_box
                # A detector's categories have no number, only a name.
                index = names.setdefault(category.category_name, len(names))
                corner = (box.origin_x, box.origin_y)
                rows.append((index, category.score, *corner, box.width, box.height))
            yield {"results": np.array(rows).reshape(-1, 6)}


def segment(model, images, names):
    """Confidences and masks."""
    options = vision.ImageSegmenterOptions(base_options=model, output_category_mask=True)
    with vision.ImageSegmenter.create_from_options(options) as task:
        names.update(enumerate(task.labels))
        for image in images:
            found = task.segment(image)
            confidences = [mask.numpy_view().squeeze(-1) for mask in found.confidence_masks]
            mask = found.category_mask.numpy_view().squeeze(-1)
            yield {"results": np.stack(confidences, axis=-1), "masks": mask.copy()}


TASKS = {"classification": classify, "detection": detect, "segmentation": segment}


def main(task, model, images, results):
    """Runs one task."""
    names, arrays = {}, {}
    pictures = (mp.Image(image_format=mp.ImageFormat.SRGB, data=x) for x in np.load(images))
    for i, result in enumerate(TASKS[task](BaseOptions(model_asset_path=model), pictures, names)):
        arrays |= {f"{key}_{i}": value for key, value in result.items()}
    if task == "detection":
        names = {index: name for name, index in names.items()}
    arrays["labels"] = np.array([names[i] for i in range(len(names))])
    np.savez(results, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
