"""Float layers as TFLite operators: TensorFlow's converter writes them, one block at a time."""

from __future__ import annotations

import dataclasses
import re

import keras
from ai_edge_litert import schema_py_generated as schema

from mobilequant.integer.graph import FloatBlock
from tflite_tools import flatbuffer
from tflite_tools.errors import ConversionError


@dataclasses.dataclass(frozen=True)
class FloatPart:
    """A block as a model of its own.

    Attributes:
        model: One subgraph of builtin operators, without variables.
        inputs: Numbers of the tensors that stand for the block's inputs; None where the converter
            found that one is not needed.
        outputs: Numbers of the tensors that stand for its outputs.
        minimum_runtime: First TFLite release that runs it, as the converter says; or None.
    """

    model: schema.ModelT
    inputs: list[int | None]
    outputs: list[int]
    minimum_runtime: str | None


def convert_block(block: FloatBlock, batch_size: int) -> FloatPart:
    """Has TensorFlow's converter write a block in float operators.

    Args:
        block: The float layers.
        batch_size: Size of the fixed first dimension.

    Raises:
        ConversionError: A layer needs what a TFLite file of builtin operators does not hold; the
            message names it.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConversionError(
            f"The float layers {', '.join(map(repr, block.layers))} are written by TensorFlow's "
            f"converter, and Keras runs on {keras.backend.backend()}: load the model with "
            "KERAS_BACKEND=tensorflow."
        )
    try:
        part = _convert(block, batch_size)
    except _Inexpressible as error:
        layer, reason = _at_fault(block, batch_size) or (None, str(error))
        where = (
            f"Layer {layer!r}"
            if layer is not None
            else f"The float layers {', '.join(map(repr, block.layers))}"
        )
        raise ConversionError(
            f"{where} cannot be written in TFLite's float operators: {reason}. Build it of "
            "operators that TFLite has, or end the model before it and compute the rest in the app."
        ) from error
    for tensor, number in zip(block.outputs, part.outputs, strict=True):
        kind = flatbuffer.TENSOR_TYPES[part.model.subgraphs[0].tensors[number].type].lower()
        if kind != tensor.dtype:
            raise ConversionError(
                f"Layer {tensor.name!r} gives {kind}; what leaves the float part of a file is "
                f"{tensor.dtype}: put keras.ops.cast(x, {tensor.dtype!r}) behind it."
            )
    return part


class _Inexpressible(Exception):
    """TFLite has no way to say this."""


def _convert(block, batch_size):
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    names = [f"input_{i}" for i in range(len(block.inputs))]
    signature = [
        tf.TensorSpec((batch_size, *tensor.shape), tensor.dtype, name=name)
        for name, tensor in zip(names, block.inputs, strict=True)
    ]
    traced = tf.function(lambda *tensors: block.function(list(tensors)), autograph=False)
    # Without this the converter writes variables, which no operator of a file like ours may hold.
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(*signature))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content = converter.convert()
    # The converter has several kinds of errors, some of them bare exceptions.
    except Exception as error:
        raise _Inexpressible(_reason(error)) from error
    model = flatbuffer.parse(bytes(content), f"float layers {block.name!r}")
    _require_plain(model)
    (ends,) = model.signatureDefs
    inputs = {flatbuffer.text(end.name): end.tensorIndex for end in ends.inputs or ()}
    outputs = {flatbuffer.text(end.name): end.tensorIndex for end in ends.outputs}
    return FloatPart(
        model=model,
        inputs=[inputs.get(name) for name in names],
        outputs=[outputs[f"output_{i}"] for i in range(len(block.outputs))],
        minimum_runtime=flatbuffer.minimum_runtime(model),
    )


def _require_plain(model):
    """Refuses what an operator among others in one graph cannot be."""
    main = model.subgraphs[0]
    kinds = [flatbuffer.operator_name(model, op) for op in main.operators or ()]
    custom = [kind for kind in kinds if kind not in vars(schema.BuiltinOperator)]
    if custom:
        raise _Inexpressible(f"it needs the custom operator {custom[0]}")
    if len(model.subgraphs) > 1:
        raise _Inexpressible("it needs control flow (a loop or a condition on values)")
    if "VAR_HANDLE" in kinds or any(tensor.isVariable for tensor in main.tensors):
        raise _Inexpressible("it keeps a state from one call to the next")


def _at_fault(block, batch_size):
    """(name, reason) of the first layer that cannot be written by itself either."""
    for part in block.parts:
        try:
            _convert(part, batch_size)
        except _Inexpressible as error:
            return part.name, str(error)
    return None


def _reason(error):
    """The converter's pages of text as a phrase."""
    text = str(error)
    listed = re.search(r"(?:TF Select|Custom) ops: ([\w, ]+)", text)
    if listed:
        return f"TFLite has no operator {listed[1].strip()}"
    lines = text.strip().splitlines() or [type(error).__name__]
    return f"TensorFlow's converter says: {lines[0].rstrip('.')[:200]}"
