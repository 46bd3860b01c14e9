"""The end of a detector's file: TFLite_Detection_PostProcess, the custom operator of LiteRT.

It decodes boxes against their anchors and drops those that overlap better ones. It takes floats, so
these operators follow the integers of the network, all of them on the CPU:

    box codes int8      DEQUANTIZE ───────────────────────┐
    scores int8         DEQUANTIZE, SOFTMAX or LOGISTIC ──┤ TFLite_Detection_PostProcess
    anchors, a constant ──────────────────────────────────┘

Probabilities are computed in float because int8 ones, 1/256 apart, put most good boxes of an object
on the same score, and suppression then keeps whichever comes first. Anchors are float for the sake
of small boxes; the operator takes quantized ones with uint8 codes only.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from mobilequant import targets
from mobilequant.integer.graph import FrozenGraph, Tensor
from tflite_tools import flatbuffer
from tflite_tools.errors import ConversionError, InvalidModelError
from tflite_tools.packing import pack

KIND = "TFLite_Detection_PostProcess"

#: Names of its outputs in the file's signature, by their meaning and in the file's order. Runtimes
#: that know detectors (pycoral) look for these.
SIGNATURE_NAMES = {
    "boxes": "output_3",
    "classes": "output_2",
    "scores": "output_1",
    "count": "output_0",
}

#: Operator, version and options with which logits become probabilities.
_PROBABILITIES = {
    "softmax": ("SOFTMAX", 1, schema.SoftmaxOptionsT(beta=1.0)),
    "sigmoid": ("LOGISTIC", 1, None),
}

#: Tensors that `attach` adds: two float heads, probabilities, anchors and four outputs.
_ADDED = 8


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
        by_class: Whether only boxes of one class drop each other, as in training and metrics, and
            as many as one box has classes above the threshold can be found in its place. False is
            the operator's fast way: a box has its best class, and drops boxes of any other.
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
        if self.scores not in _PROBABILITIES:
            raise ValueError(
                f"DetectionPostProcess: scores={self.scores!r} must be one of "
                f"{', '.join(map(repr, _PROBABILITIES))}."
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
    missing = {KIND, "DEQUANTIZE", _PROBABILITIES[end.scores][0]} - set(target.postprocessing)
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


def attach(model: schema.ModelT, end: DetectionPostProcess) -> bytes:
    """A detector's file that ends in the operator.

    Args:
        model: A parsed file with int8 box codes and scores as its outputs; left as it is.
        end: The operator.
    """
    model, main = _copy(model)
    tail = _Tail(model, main)
    boxes, scores = (int(i) for i in main.outputs)
    anchors, channels = len(end.anchors), end.channels
    codes = tail.tensor("box_codes", (1, anchors, 4))
    logits = tail.tensor("logits", (1, anchors, channels))
    probabilities = tail.tensor("probabilities", (1, anchors, channels))
    constant = tail.tensor("anchors", (anchors, 4), end.anchors.astype("<f4").tobytes())
    outputs = [
        tail.tensor("detection_boxes", (1, end.max_detections, 4)),
        tail.tensor("detection_classes", (1, end.max_detections)),
        tail.tensor("detection_scores", (1, end.max_detections)),
        tail.tensor("detection_count", (1,)),
    ]
    kind, version, options = _PROBABILITIES[end.scores]
    tail.operator("DEQUANTIZE", 2, [boxes], [codes], schema.DequantizeOptionsT())
    tail.operator("DEQUANTIZE", 2, [scores], [logits], schema.DequantizeOptionsT())
    tail.operator(kind, version, [logits], [probabilities], options)
    tail.custom_operator([codes, probabilities, constant], outputs, end.options())
    main.outputs = np.array(outputs, np.int32)
    (signature,) = model.signatureDefs
    signature.outputs = [
        schema.TensorMapT(name=name, tensorIndex=index)
        for name, index in zip(SIGNATURE_NAMES.values(), outputs, strict=True)
    ]
    return pack(model)


def ends_in_postprocess(model: schema.ModelT) -> bool:
    """Whether a file's last operator is TFLite_Detection_PostProcess."""
    operators = model.subgraphs[0].operators or ()
    return len(operators) > 0 and flatbuffer.operator_name(model, operators[-1]) == KIND


def detach(model: schema.ModelT, path: str = "the file") -> schema.ModelT:
    """The integer part of a file that `attach` made: what it was made from, but the signature.

    Args:
        model: The parsed file; left as it is.
        path: What messages call it.

    Raises:
        InvalidModelError: The operator follows on other things than `attach` puts before it.
    """
    model, main = _copy(model)
    tail = main.operators[-4:]
    kinds = [flatbuffer.operator_name(model, op) for op in tail]
    first = len(main.tensors) - _ADDED
    probabilities = [kind for kind, _, _ in _PROBABILITIES.values()]
    if kinds not in [["DEQUANTIZE", "DEQUANTIZE", kind, KIND] for kind in probabilities] or any(
        index < first for op in tail for index in op.outputs
    ):
        raise InvalidModelError(
            f"{path}: ends in {', '.join(kinds)}; verify knows {KIND} as tflite_tools.convert "
            "writes it."
        )
    main.operators, main.tensors = main.operators[:-4], main.tensors[:first]
    main.outputs = np.array([op.inputs[0] for op in tail[:2]], np.int32)
    model.signatureDefs = None
    return model


def _copy(model):
    """A model that shares its parts with another, but those that change here, and its graph."""
    model = copy.copy(model)
    main = copy.copy(model.subgraphs[0])
    main.tensors, main.operators = list(main.tensors), list(main.operators)
    model.subgraphs = [main, *model.subgraphs[1:]]
    model.operatorCodes, model.buffers = list(model.operatorCodes), list(model.buffers)
    model.signatureDefs = [copy.copy(s) for s in model.signatureDefs or ()]
    return model, main


class _Tail:
    """Adds float tensors and operators to a graph."""

    def __init__(self, model: schema.ModelT, main: schema.SubGraphT):
        self._model, self._main = model, main

    def tensor(self, name: str, shape: tuple[int, ...], content: bytes = b"") -> int:
        buffer = 0
        if content:
            buffer = len(self._model.buffers)
            self._model.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))
        self._main.tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=schema.TensorType.FLOAT32,
                buffer=buffer,
                name=f"postprocess/{name}",
                hasRank=True,
            )
        )
        return len(self._main.tensors) - 1

    def operator(self, kind: str, version: int, inputs, outputs, options) -> None:
        number = getattr(schema.BuiltinOperator, kind)
        code = schema.OperatorCodeT(
            builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version
        )
        op = self._append(code, inputs, outputs)
        if options is not None:
            op.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            op.builtinOptionsType = getattr(schema.BuiltinOptions, name)

    def custom_operator(self, inputs, outputs, options: bytes) -> None:
        number = schema.BuiltinOperator.CUSTOM
        code = schema.OperatorCodeT(
            builtinCode=number, deprecatedBuiltinCode=number, customCode=KIND, version=1
        )
        op = self._append(code, inputs, outputs)
        op.customOptions = np.frombuffer(options, np.uint8)

    def _append(self, code, inputs, outputs) -> schema.OperatorT:
        same = [i for i, other in enumerate(self._model.operatorCodes) if _same(code, other)]
        if not same:
            self._model.operatorCodes.append(code)
        op = schema.OperatorT(
            opcodeIndex=same[0] if same else len(self._model.operatorCodes) - 1,
            inputs=np.array(inputs, np.int32),
            outputs=np.array(outputs, np.int32),
        )
        self._main.operators.append(op)
        return op


def _same(code: schema.OperatorCodeT, other: schema.OperatorCodeT) -> bool:
    return (
        flatbuffer.builtin_code(code) == flatbuffer.builtin_code(other)
        and code.version == other.version
        and code.customCode is None is other.customCode
    )
