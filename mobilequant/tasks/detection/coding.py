"""Boxes as the numbers that a detector predicts, and back.

Source: Girshick et al. 2014, "R-CNN", arXiv:1311.2524, appendix C, equations 1 to 4 and 6 to 9; the
scale factors are those of arXiv:1512.02325's code, and the order (y, x, height, width) that of
TFLite_Detection_PostProcess. NumPy arrays give NumPy arrays, tensors give tensors, by the same
formulae: `decode` is what a program needs for a `.tflite` file without that operator.
"""

import math
from collections.abc import Sequence

import numpy as np

from mobilequant.lazy import LazyModule

tf = LazyModule("tensorflow")

#: A code is so many times the offset of (centre y, centre x, log height, log width).
SCALE_FACTORS = (10.0, 10.0, 5.0, 5.0)

#: Decoded boxes are at most 1000/16 times as high or wide as their anchors (as torchvision has
#: it), so that the exponential cannot overflow.
LARGEST_LOG_SIZE = math.log(1000 / 16)

#: Stands for the sizes of boxes without an area, which have no logarithm.
_SMALLEST_SIZE = 1e-6


def encode(boxes, anchors, scale_factors: Sequence[float] = SCALE_FACTORS):
    """Codes of boxes, each relative to its anchor.

    Args:
        boxes: (..., anchors, 4), (ymin, xmin, ymax, xmax) in shares of the image.
        anchors: (anchors, 4), the same; none without an area.
        scale_factors: of y, x, height and width.

    Returns:
        (..., anchors, 4): t_y = f_y·(y − y_a)/h_a, t_x likewise, t_h = f_h·ln(h/h_a), t_w
        likewise.
    """
    lib = _library(boxes, anchors)
    y, x, height, width = _centre_form(boxes)
    anchor_y, anchor_x, anchor_height, anchor_width = _centre_form(anchors)
    f_y, f_x, f_height, f_width = scale_factors
    log = np.log if lib is np else tf.math.log
    return lib.stack(
        [
            (y - anchor_y) / anchor_height * f_y,
            (x - anchor_x) / anchor_width * f_x,
            log(lib.maximum(height, _SMALLEST_SIZE) / anchor_height) * f_height,
            log(lib.maximum(width, _SMALLEST_SIZE) / anchor_width) * f_width,
        ],
        axis=-1,
    )


def decode(codes, anchors, scale_factors: Sequence[float] = SCALE_FACTORS, *, clip: bool = False):
    """Boxes of codes: the inverse of `encode`.

    Args:
        codes: (..., anchors, 4), a detector's output "boxes", dequantized.
        anchors: (anchors, 4), (ymin, xmin, ymax, xmax) in shares of the image.
        scale_factors: of y, x, height and width.
        clip: whether boxes are cut off at the edge of the image.

    Returns:
        (..., anchors, 4), (ymin, xmin, ymax, xmax) in shares of the image.
    """
    lib = _library(codes, anchors)
    anchor_y, anchor_x, anchor_height, anchor_width = _centre_form(anchors)
    f_y, f_x, f_height, f_width = scale_factors
    y = codes[..., 0] / f_y * anchor_height + anchor_y
    x = codes[..., 1] / f_x * anchor_width + anchor_x
    height = lib.exp(lib.minimum(codes[..., 2] / f_height, LARGEST_LOG_SIZE)) * anchor_height
    width = lib.exp(lib.minimum(codes[..., 3] / f_width, LARGEST_LOG_SIZE)) * anchor_width
    boxes = lib.stack(
        [y - height / 2, x - width / 2, y + height / 2, x + width / 2],
        axis=-1,
    )
    return lib.minimum(lib.maximum(boxes, 0.0), 1.0) if clip else boxes


def _library(*arrays):
    """NumPy, or TensorFlow as soon as one of the arrays is its tensor."""
    return tf if any(tf.is_tensor(array) for array in arrays) else np


def _centre_form(boxes):
    """(centre y, centre x, height, width) of corners."""
    ymin, xmin, ymax, xmax = (boxes[..., i] for i in range(4))
    return (ymin + ymax) / 2, (xmin + xmax) / 2, ymax - ymin, xmax - xmin
