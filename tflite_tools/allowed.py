"""What a file may hold: the operators, versions and types that its target takes."""

from __future__ import annotations

import collections

from ai_edge_litert import schema_py_generated as schema

from mobilequant import targets
from tflite_tools import flatbuffer, runtimes
from tflite_tools.errors import ConversionError

_INTEGERS = ("int8", "uint8")


def require_allowed(
    model: schema.ModelT,
    target: targets.Target,
    interface: str,
    allow_float: bool = False,
    output_interface: str | None = None,
) -> None:
    """Checks operators, versions and types of a file against its target.

    Args:
        model: The parsed file.
        target: The device.
        interface: Type that its inputs and outputs must have.
        allow_float: Whether it may be a mixed file: float operators behind a DEQUANTIZE, integers
            behind a QUANTIZE, and outputs of float operators as they are.
        output_interface: Type of the outputs, where it is another one than that of the inputs.

    Raises:
        ConversionError: Something is not allowed; the message names the tensor or operator.
    """
    main = model.subgraphs[0]
    floats = _made_by_float_operators(model) if allow_float else set()
    indices = {int(op.outputs[0]) for op in main.operators if _is_index(model, op)}
    ends = [*main.inputs, *main.outputs]
    interfaces = {
        **dict.fromkeys(map(int, main.inputs), interface),
        **dict.fromkeys(map(int, main.outputs), output_interface or interface),
        **dict.fromkeys(indices, "int32"),
    }
    for index, tensor in enumerate(main.tensors):
        kind = _type(tensor)
        name = flatbuffer.text(tensor.name)
        if index in floats:
            continue
        if index in ends and kind != interfaces[index]:
            raise ConversionError(f"Tensor {name!r} is {kind}, the interface {interfaces[index]}.")
        if kind == "int4" and target.packs_int4:
            continue
        if index not in ends and kind not in ("int8", "int32"):
            raise ConversionError(f"Tensor {name!r} is {kind}; inside a file all is integer.")
    for op in main.operators:
        if allow_float and is_float_operator(model, op):
            _require_no_integers(model, op)
            _require_runtime(model, op, target)
        else:
            _require_operator_allowed(model, op, ends, target, allow_float)


def float_operators(model: schema.ModelT) -> collections.Counter[str]:
    """How many float operators of each kind a file has, DEQUANTIZE and QUANTIZE apart."""
    main = model.subgraphs[0]
    return collections.Counter(
        flatbuffer.operator_name(model, op)
        for op in main.operators or ()
        if is_float_operator(model, op)
    )


def is_float_operator(model: schema.ModelT, op: schema.OperatorT) -> bool:
    """Whether an operator gives anything but int8 (at the interface uint8).

    DEQUANTIZE is none, nor is ARG_MAX of integers. Shapes, other indices and truth values are
    computed by the float part of a file alone.
    """
    tensors = model.subgraphs[0].tensors
    if flatbuffer.operator_name(model, op) == "DEQUANTIZE" or _is_index(model, op):
        return False
    return any(_type(tensors[i]) not in _INTEGERS for i in op.outputs)


def _made_by_float_operators(model):
    """Numbers of the tensors that are float, or belong to what is: constants, shapes, indices."""
    main = model.subgraphs[0]
    found = set()
    for op in main.operators or ():
        kind = flatbuffer.operator_name(model, op)
        if kind == "DEQUANTIZE":
            found.update(map(int, op.outputs))
        elif is_float_operator(model, op):
            found.update(map(int, op.outputs))
            found.update(
                int(i)
                for i in op.inputs
                if i >= 0 and flatbuffer.constant_bytes(model, main.tensors[i])
            )
    return found


def _require_no_integers(model, op):
    tensors = model.subgraphs[0].tensors
    for i in (*op.inputs, *op.outputs):
        if i >= 0 and _type(tensors[i]) in _INTEGERS:
            raise ConversionError(
                f"Tensor {flatbuffer.text(tensors[i].name)!r} is {_type(tensors[i])} and meets "
                f"the float operator {flatbuffer.operator_name(model, op)} without a DEQUANTIZE."
            )


def _require_runtime(model, op, target) -> None:
    """Of float operators there is no table a target; an older runtime may be too old for one."""
    kind, version = flatbuffer.operator_name(model, op), model.operatorCodes[op.opcodeIndex].version
    first = runtimes.first_release(kind, version)
    if target.runtime is None or first is None:
        return
    if runtimes.release_number(first) > runtimes.release_number(target.runtime):
        name = flatbuffer.text(model.subgraphs[0].tensors[op.outputs[0]].name)
        raise ConversionError(
            f"Tensor {name!r} comes from the float operator {kind} version {version}, which came "
            f"with TFLite {first}; target {target.name!r} runs {target.runtime}."
        )


def _require_operator_allowed(model, op, ends, target, allow_float) -> None:
    kind = flatbuffer.operator_name(model, op)
    version = model.operatorCodes[op.opcodeIndex].version
    name = flatbuffer.text(model.subgraphs[0].tensors[op.outputs[0]].name)
    if kind not in target.operators or version > target.operators[kind]:
        raise ConversionError(
            f"Tensor {name!r} comes from {kind} version {version}; target {target.name!r} takes "
            f"{f'up to {target.operators[kind]}' if kind in target.operators else 'none'}."
        )
    at_an_end = op.inputs[0] in ends or op.outputs[0] in ends
    types = _types(model, op)
    # From int8 to int8 a QUANTIZE brings a branch to the range that a concatenation wants.
    int8_only = kind == "QUANTIZE" and types == {"int8"}
    border = allow_float and types == {"int8", "float32"}
    if kind in ("QUANTIZE", "DEQUANTIZE") and not (at_an_end or int8_only or border):
        raise ConversionError(f"Tensor {name!r} comes from a {kind} inside the file.")
    if not border and any(
        _type(model.subgraphs[0].tensors[i]) not in (*_INTEGERS, "int32", "int4")
        for i in op.inputs
        if i >= 0
    ):
        raise ConversionError(f"Tensor {name!r} comes from the integer {kind} of a float tensor.")


def _is_index(model: schema.ModelT, op: schema.OperatorT) -> bool:
    """Whether an operator gives indices of integers."""
    source = model.subgraphs[0].tensors[op.inputs[0]] if len(op.inputs) else None
    return flatbuffer.operator_name(model, op) == "ARG_MAX" and _type(source) in _INTEGERS


def _types(model: schema.ModelT, op: schema.OperatorT) -> set[str]:
    return {_type(model.subgraphs[0].tensors[i]) for i in (*op.inputs, *op.outputs)}


def _type(tensor: schema.TensorT) -> str:
    return flatbuffer.TENSOR_TYPES[tensor.type].lower()
