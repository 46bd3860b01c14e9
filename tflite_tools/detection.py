"""The end of a detector's file: TFLite_Detection_PostProcess, the custom operator of LiteRT.

It decodes boxes against their anchors and drops those that overlap better ones. It takes floats, so
these operators follow the integers of the network, all of them on the CPU:

    box codes int8      DEQUANTIZE ───────────────────────┐
    scores int8         DEQUANTIZE, SOFTMAX or LOGISTIC ──┤ TFLite_Detection_PostProcess
    anchors, a constant ──────────────────────────────────┘

Probabilities are computed in float because int8 ones, 1/256 apart, would give boxes of different
logits one score, and suppression then keeps whichever comes first. Anchors are float for the sake
of small boxes; the operator takes quantized ones with uint8 codes only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flatbuffers import flexbuffers

from mobilequant import targets
from mobilequant.integer.graph import FrozenGraph, Tensor
from tflite_tools.errors import ConversionError

KIND = "TFLite_Detection_PostProcess"

#: Operator with which logits become probabilities.
PROBABILITIES = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC"}


@dataclasses.dataclass(frozen=True, eq=False)
class DetectionPostProcess:
    """What TFLite_Detection_PostProcess is to do; for `convert(..., postprocess=...)`.

        from mobilequant.tasks.detection import Detector
        end = tflite_tools.DetectionPostProcess.of(Detector.of(qmodel), max_detections=10)
        tflite_tools.convert(qmodel, "m.tflite", postprocess=end)

    The file then has four float32 outputs, in this order: boxes (1, max_detections, 4), (ymin,
    xmin, ymax, xmax) in shares of the image and not cut off at its edge; classes (1,
    max_detections), from 0, without the background; scores (1, max_detections), the highest
    first; and count (1,), how many of them there are. What lies behind the count means nothing.

    Source of the operator: tensorflow/lite/kernels/detection_postprocess.cc; of the codes:
    arXiv:1512.02325, section 2.2.

    Attributes:
        anchors: (anchors, 4) float32, (centre y, centre x, height, width) in shares of the image.
        classes: Number of classes, without the background.
        scores: "softmax" over the background, channel 0, and the classes; or "sigmoid", one yes
            or no for each class.
        scale_factors: A code is so many times the offset of (centre y, centre x, log height, log
            width).
        max_detections: Boxes of an image, at most.
        score_threshold: Scores below it are dropped. Low ones cost time: every pair of boxes that
            are left is compared.
        iou_threshold: A box that overlaps a better one by more is dropped; in (0, 1].
        by_class: Whether boxes drop only others of their class, as `suppress` in
            mobilequant.tasks.detection does; one box may then come with several classes. False is
            the operator's fast way: a box has its best class, and drops boxes of all classes.
        detections_per_class: Boxes of one class, at most, where `by_class`; by default
            `max_detections`.

    Raises:
        ValueError: A number is out of range.
    """

    anchors: np.ndarray
    classes: int
    scores: str = "softmax"
    scale_factors: Sequence[float] = (10.0, 10.0, 5.0, 5.0)
    max_detections: int = 10
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    by_class: bool = True
    detections_per_class: int | None = None

    def __post_init__(self):
        anchors = np.asarray(self.anchors, np.float32)
        object.__setattr__(self, "anchors", anchors)
        if anchors.ndim != 2 or anchors.shape[1] != 4 or not len(anchors):
            raise ValueError(
                "DetectionPostProcess: anchors must be (anchors, 4), centre y, centre x, height "
                f"and width, got an array of shape {anchors.shape}."
            )
        if not (np.isfinite(anchors).all() and (anchors[:, 2:] > 0).all()):
            raise ValueError(
                "DetectionPostProcess: anchors must be finite, with heights and widths above 0; "
                "are they corners? They are (centre y, centre x, height, width)."
            )
        if self.scores not in PROBABILITIES:
            raise ValueError(
                f"DetectionPostProcess: scores={self.scores!r} must be one of "
                f"{', '.join(map(repr, PROBABILITIES))}."
            )
        if len(self.scale_factors) != 4 or not all(0 < s < np.inf for s in self.scale_factors):
            raise ValueError(
                "DetectionPostProcess: scale_factors must be four positive numbers, got "
                f"{self.scale_factors!r}."
            )
        counts = ("classes", "max_detections", "detections_per_class")
        for name in counts[: 2 if self.detections_per_class is None else 3]:
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(
                    f"DetectionPostProcess: {name} must be a whole number from 1 on, got {value!r}."
                )
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(
                "DetectionPostProcess: score_threshold must lie in [0, 1], got "
                f"{self.score_threshold!r}."
            )
        if not 0 < self.iou_threshold <= 1:
            raise ValueError(
                f"DetectionPostProcess: iou_threshold must lie in (0, 1], got "
                f"{self.iou_threshold!r}."
            )

    @classmethod
    def of(cls, detector, **options) -> DetectionPostProcess:
        """The end of the file of a detector.

        Args:
            detector: What `mobilequant.tasks.detection.Detector.of(model)` returns, or anything
                else with `anchors` (corners), `classes`, `background` and `scale_factors`.
            options: Other attributes, such as `max_detections`.
        """
        ymin, xmin, ymax, xmax = np.asarray(detector.anchors, np.float32).T
        return cls(
            np.stack([(ymin + ymax) / 2, (xmin + xmax) / 2, ymax - ymin, xmax - xmin], axis=1),
            detector.classes,
            scores="softmax" if detector.background else "sigmoid",
            scale_factors=tuple(detector.scale_factors),
            **options,
        )

    @property
    def channels(self) -> int:
        """Scores of one anchor, with the background where there is one."""
        return self.classes + (self.scores == "softmax")

    def options(self) -> bytes:
        """The operator's options, as it reads them."""
        scales = zip(("y_scale", "x_scale", "h_scale", "w_scale"), self.scale_factors, strict=True)
        options = {
            "max_detections": int(self.max_detections),
            "max_classes_per_detection": 1,
            "detections_per_class": int(self.detections_per_class or self.max_detections),
            "use_regular_nms": bool(self.by_class),
            "nms_score_threshold": float(self.score_threshold),
            "nms_iou_threshold": float(self.iou_threshold),
            "num_classes": int(self.classes),
            **{name: float(scale) for name, scale in scales},
        }
        return bytes(flexbuffers.Dumps(options))


def require_fit(
    graph: FrozenGraph, end: DetectionPostProcess, target: targets.Target, batch_size: int
) -> None:
    """Checks that a model is a detector of that kind and its device takes the operator.

    Raises:
        ConversionError: It is not, or the device does not; the message says what differs.
    """
    missing = {KIND, "DEQUANTIZE", PROBABILITIES[end.scores]} - set(target.postprocessing)
    if missing:
        raise ConversionError(
            f"Target {target.name!r} takes no {', '.join(sorted(missing))} behind the integers."
        )
    if batch_size != 1:
        raise ConversionError(f"{KIND} takes one image at a time, got batch_size={batch_size}.")
    wanted = [(len(end.anchors), 4), (len(end.anchors), end.channels)]
    if [tensor.shape for tensor in graph.outputs] != wanted:
        has = ", ".join(f"{tensor.name!r} {tensor.shape}" for tensor in graph.outputs)
        raise ConversionError(
            f"Model {graph.name!r} is no detector that this postprocess fits. For "
            f"{len(end.anchors)} anchors, {end.classes} classes and {end.scores} scores, outputs "
            f"are box codes {wanted[0]} and scores {wanted[1]}, in this order; it has {has}."
        )
    for tensor in graph.outputs:
        if not isinstance(tensor, Tensor):
            raise ConversionError(
                f"Model {graph.name!r}: {tensor.name!r} is {tensor.dtype}, postprocess takes "
                "integer box codes and scores. Quantize the layers that give them, too."
            )
