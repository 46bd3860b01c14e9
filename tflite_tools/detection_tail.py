"""Puts TFLite_Detection_PostProcess behind the integers of a file, and takes it off again."""

from __future__ import annotations

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.detection import KIND, PROBABILITIES, DetectionPostProcess
from tflite_tools.errors import InvalidModelError
from tflite_tools.serialization import serialize

#: Names of its outputs in the file's signature, by their meaning and in the file's order. Runtimes
#: that know detectors (pycoral) look for these.
SIGNATURE_NAMES = {
    "boxes": "output_3",
    "classes": "output_2",
    "scores": "output_1",
    "count": "output_0",
}

#: Tensors that `attach` adds: two float heads, probabilities, anchors and four outputs.
_ADDED = 8


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
    kind = PROBABILITIES[end.scores]
    options = schema.SoftmaxOptionsT(beta=1.0) if kind == "SOFTMAX" else None
    tail.operator("DEQUANTIZE", 2, [boxes], [codes], schema.DequantizeOptionsT())
    tail.operator("DEQUANTIZE", 2, [scores], [logits], schema.DequantizeOptionsT())
    tail.operator(kind, 1, [logits], [probabilities], options)
    tail.custom_operator([codes, probabilities, constant], outputs, end.options())
    main.outputs = np.array(outputs, np.int32)
    (signature,) = model.signatureDefs
    signature.outputs = [
        schema.TensorMapT(name=name, tensorIndex=index)
        for name, index in zip(SIGNATURE_NAMES.values(), outputs, strict=True)
    ]
    return serialize(model)


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
    ours = [["DEQUANTIZE", "DEQUANTIZE", kind, KIND] for kind in PROBABILITIES.values()]
    if kinds not in ours or any(index < first for op in tail for index in op.outputs):
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
