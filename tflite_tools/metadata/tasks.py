"""What an image task wants said of its file: one class a task, found by the app that opens it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.errors import InvalidModelError
from tflite_tools.metadata import coding, images
from tflite_tools.metadata.calibration import ScoreCalibration
from tflite_tools.metadata.tables import CUSTOM_IDENTIFIER

LABELS_FILE = "labels.txt"
CALIBRATION_FILE = "score_calibration.csv"

#: As tflite_tools.detection has it, which needs TensorFlow.
POSTPROCESS = "TFLite_Detection_PostProcess"

#: How MediaPipe finds the activation of a segmenter among custom metadata.
SEGMENTER = "SEGMENTER_METADATA"

#: Outputs of TFLite_Detection_PostProcess in its order, by the names that MediaPipe looks for.
DETECTIONS = {
    "location": "corners of the boxes, as shares of the image",
    "category": "the class of each box, a place in the list of labels",
    "score": "how sure the model is of each box, the highest first",
    "number of detections": "how many of the boxes mean something",
}

#: Order of (ymin, xmin, ymax, xmax) as the schema counts it: where left, top, right, bottom lie.
_BOX_ORDER = [1, 0, 3, 2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Task:
    """What all tasks share; see `ImageClassifier`."""

    labels: Sequence[str]
    mean: float | Sequence[float] = 127.5
    std: float | Sequence[float] = 127.5
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""

    def __post_init__(self):
        name = type(self).__name__
        if isinstance(self.labels, str):
            raise ValueError(f"{name}: labels must be a list of names, got one text.")
        labels = tuple(self.labels)
        object.__setattr__(self, "labels", labels)
        if not labels or not all(isinstance(x, str) and x.strip() for x in labels):
            raise ValueError(f"{name}: labels must be names, one for each class, none empty.")
        if any(len(x.splitlines()) > 1 for x in labels):
            raise ValueError(f"{name}: labels are written one a line and cannot hold line breaks.")
        for field in ("mean", "std"):
            values = np.atleast_1d(np.asarray(getattr(self, field), np.float64))
            if values.ndim != 1 or not np.isfinite(values).all():
                raise ValueError(f"{name}: {field} must be a number, or one for each channel.")
            if field == "std" and not (values > 0).all():
                raise ValueError(f"{name}: std must be above 0, got {self.std!r}.")
            object.__setattr__(self, field, tuple(values.tolist()))

    def describe(self, model: schema.ModelT) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The metadata for a file, as `tables` has it, and the files that go with it.

        Raises:
            InvalidModelError: The file's inputs or outputs are not those of the task.
        """
        main = model.subgraphs[0]
        files = {LABELS_FILE: "\n".join(self.labels).encode()}
        outputs, more_files, parts = self._outputs(model)
        subgraph = {
            "input_tensor_metadata": [images.describe_input(main, self.mean, self.std)],
            "output_tensor_metadata": outputs,
            **parts,
        }
        values = {
            "name": type(self).__name__,
            "description": self.description or self._TEXT,
            "version": self.version,
            "author": self.author,
            "license": self.license,
            "subgraph_metadata": [subgraph],
            # Custom metadata came with 1.5, all else here was there from the start.
            "min_parser_version": "1.5.0" if "custom_metadata" in subgraph else "1.0.0",
        }
        return {k: v for k, v in values.items() if v}, files | more_files

    _TEXT: ClassVar[str]

    def _outputs(self, model):
        """Metadata of the outputs, files, and further fields of the subgraph."""
        raise NotImplementedError

    def _require_labels(self, count: int, of: str) -> None:
        if len(self.labels) != count:
            raise InvalidModelError(
                f"{type(self).__name__}: {len(self.labels)} labels for {count} {of}; give one "
                "label for each, in the model's order."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageClassifier(_Task):
    """A file that gives one score for each class.

    Attributes:
        labels: Names of the classes, in the model's order.
        mean: What the model was trained on is (pixel − mean) / std, with pixels from 0 to 255; one
            number, or one for each channel. The default is what `mobilequant.data` gives, values
            in [−1, 1]. Apps hand whole pixels to an integer input, so that its scale and zero
            point must say the same, to two steps.
        std: See `mean`.
        score_threshold: Scores below it are not shown, unless the app says otherwise.
        score_calibration: What turns the model's numbers into the scores that are shown; without
            it they are shown as they are, so the model should end in its softmax.
        description: What the model is for, for people.
        version: Of the model, as its authors count.
        author: Who made it.
        license: What others may do with it.

    Raises:
        ValueError: A value is out of range.
    """

    score_threshold: float | None = None
    score_calibration: ScoreCalibration | None = None

    _TEXT = "Says which of the known classes an image shows."

    def __post_init__(self):
        super().__post_init__()
        threshold = self.score_threshold
        if threshold is not None and not np.isfinite(threshold):
            raise ValueError(f"ImageClassifier: score_threshold={threshold!r} is no number.")

    def _outputs(self, model):
        scores = _only_output(model, "class scores (1, classes)")
        shape = [int(n) for n in scores.shape]
        if len(shape) < 2 or np.prod(shape) != shape[-1]:
            raise InvalidModelError(
                f"its output has the shape {shape}, a classifier's has one score a class: "
                "(1, classes)."
            )
        self._require_labels(shape[-1], "scores")
        units, attached, files = [], [_labels_file("TENSOR_AXIS_LABELS")], {}
        if self.score_calibration is not None:
            files[CALIBRATION_FILE] = self.score_calibration.content(len(self.labels))
            units.append(_unit("ScoreCalibrationOptions", self.score_calibration.options()))
            attached.append({"name": CALIBRATION_FILE, "type": "TENSOR_AXIS_SCORE_CALIBRATION"})
        if self.score_threshold is not None:
            options = {"global_score_threshold": float(self.score_threshold)}
            units.append(_unit("ScoreThresholdingOptions", options))
        output = _tensor("probability", "the score of each class", process_units=units)
        return [output | {"associated_files": attached}], files, {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectDetector(_Task):
    """A file that ends in TFLite_Detection_PostProcess, as `convert(..., postprocess=…)` writes it.

    Attributes are those of `ImageClassifier` but for `score_calibration`; the labels are without
    the background.
    """

    score_threshold: float | None = None

    _TEXT = "Finds objects of the known classes in an image."

    def _outputs(self, model):
        main = model.subgraphs[0]
        last = main.operators[-1] if main.operators is not None and len(main.operators) else None
        if last is None or flatbuffer.operator_name(model, last) != POSTPROCESS:
            raise InvalidModelError(
                f"a detector's file must end in {POSTPROCESS}, which makes boxes of its codes: "
                "use tflite_tools.convert(..., postprocess=...)."
            )
        meanings = dict(zip((int(i) for i in last.outputs), DETECTIONS, strict=False))
        if sorted(meanings) != sorted(int(i) for i in main.outputs):
            raise InvalidModelError(f"its outputs must be the four of {POSTPROCESS}.")
        described = [self._output(meanings[int(i)]) for i in main.outputs]
        groups = [{"name": "detection_result", "tensor_names": list(DETECTIONS)[:3]}]
        return described, {}, {"output_tensor_groups": groups}

    def _output(self, name: str) -> dict[str, Any]:
        tensor = _tensor(name, DETECTIONS[name])
        if name == "location":
            boxes = {"index": _BOX_ORDER, "type": "BOUNDARIES", "coordinate_type": "RATIO"}
            # A box is the second dimension's element: its four numbers belong together.
            span = {"min": 2, "max": 2}
            tensor["content"] = {
                "content_properties": {"BoundingBoxProperties": boxes},
                "range": span,
            }
        elif name == "category":
            tensor["associated_files"] = [_labels_file("TENSOR_VALUE_LABELS")]
        elif name == "score" and self.score_threshold is not None:
            options = {"global_score_threshold": float(self.score_threshold)}
            tensor["process_units"] = [_unit("ScoreThresholdingOptions", options)]
        return tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSegmenter(_Task):
    """A file that gives a score for each class in each pixel, at whatever resolution.

    Attributes are those of `ImageClassifier` but for the scores', and

    Attributes:
        activation: What turns the file's numbers into confidences: "softmax", "sigmoid", or "none"
            where they are confidences already. By default "none" after a SOFTMAX or LOGISTIC at
            the file's end, and "softmax" otherwise.
    """

    activation: str | None = None

    _TEXT = "Says which of the known classes each pixel of an image belongs to."

    def __post_init__(self):
        super().__post_init__()
        if self.activation not in (None, "none", "sigmoid", "softmax"):
            raise ValueError(
                f"ImageSegmenter: activation={self.activation!r} must be 'softmax', 'sigmoid' or "
                "'none'."
            )

    def _outputs(self, model):
        scores = _only_output(model, "scores (1, height, width, classes)")
        shape = [int(n) for n in scores.shape]
        if len(shape) != 4:
            raise InvalidModelError(
                f"its output has the shape {shape}, a segmenter's is (1, height, width, classes): "
                'scores, not indices; build the model with output="logits".'
            )
        self._require_labels(shape[-1], "scores of a pixel")
        output = _tensor("segmentation_masks", "the score of each class in each pixel")
        output["associated_files"] = [_labels_file("TENSOR_AXIS_LABELS")]
        output["content"] = {
            "content_properties": {"ImageProperties": {"color_space": "GRAYSCALE"}},
            "range": {"min": 2, "max": 2},
        }
        activation = self.activation or ("none" if _ends_in_confidences(model) else "softmax")
        options = {"activation": activation.upper()}
        custom = coding.encode("ImageSegmenterOptions", options, CUSTOM_IDENTIFIER)
        return [output], {}, {"custom_metadata": [{"name": SEGMENTER, "data": custom}]}


#: Tasks by the names of `mobilequant.cli`.
TASKS = {
    "classification": ImageClassifier,
    "detection": ObjectDetector,
    "segmentation": ImageSegmenter,
}


def _only_output(model: schema.ModelT, what: str) -> schema.TensorT:
    main = model.subgraphs[0]
    has = 0 if main.outputs is None else len(main.outputs)
    if has != 1:
        raise InvalidModelError(f"it has {has} outputs, the task wants one: {what}.")
    tensor = main.tensors[int(main.outputs[0])]
    if tensor.shape is None:
        raise InvalidModelError(f"its output has no shape, the task wants {what}.")
    return tensor


def _ends_in_confidences(model: schema.ModelT) -> bool:
    """Whether the file's last operator, conversions aside, gives probabilities."""
    kinds = [flatbuffer.operator_name(model, op) for op in model.subgraphs[0].operators or ()]
    while kinds and kinds[-1] in ("QUANTIZE", "DEQUANTIZE"):
        kinds.pop()
    return bool(kinds) and kinds[-1] in ("SOFTMAX", "LOGISTIC")


def _tensor(name: str, description: str, process_units=()) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "content": {"content_properties": {"FeatureProperties": {}}},
        **({"process_units": list(process_units)} if process_units else {}),
    }


def _unit(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"options": {kind: options}}


def _labels_file(kind: str) -> dict[str, str]:
    return {"name": LABELS_FILE, "description": "names of the classes", "type": kind}
