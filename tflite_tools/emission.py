"""Writes a frozen graph as a TFLite flatbuffer: the same graph always gives the same bytes."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

import mobilequant
from mobilequant import targets
from mobilequant.integer.graph import (
    FloatBlock,
    FloatTensor,
    FrozenGraph,
    IndexTensor,
    Operator,
    Tensor,
)
from tflite_tools import flatbuffer, operators, runtimes
from tflite_tools.errors import ConversionError
from tflite_tools.float_blocks import FloatPart, convert_block
from tflite_tools.serialization import serialize

#: Name of the signature under which runtimes find inputs and outputs by name.
SIGNATURE = "serving_default"

_SCHEMA_VERSION = 3

#: Added to int8 integers and zero points to make them uint8.
_UINT8_OFFSET = 128

_TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.uint8): schema.TensorType.UINT8,
}


def emit(
    graph: FrozenGraph,
    *,
    target: str | targets.Target | None = None,
    interface: str | None = None,
    output_interface: str | None = None,
    batch_size: int = 1,
) -> bytes:
    """Returns the `.tflite` file of a frozen graph.

    Args:
        graph: The graph.
        target: The device; by default the one that the graph was made for.
        interface: Type of inputs and outputs, "int8" or "uint8" (a QUANTIZE behind each input
            and before each output); by default the target's first. What a float block gives
            stays float32.
        output_interface: The same of the outputs alone, where they differ from the inputs.
        batch_size: Size of the fixed first dimension.

    Raises:
        ConversionError: The target does not take an operator, a version or the interface, or the
            graph is malformed; the message names the layers.
    """
    target = targets.get(graph.target if target is None else target)
    interface = target.interfaces[0] if interface is None else interface
    if interface not in target.interfaces:
        raise ConversionError(
            f"Target {target.name!r} takes the interfaces {', '.join(target.interfaces)}; "
            f"got {interface!r}."
        )
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ConversionError(f"batch_size must be a whole number from 1 on, got {batch_size!r}.")
    return _File(graph, target, int(batch_size)).write(interface, output_interface or interface)


class _File:
    """A file in the making: tensors, buffers and operator codes, each written once."""

    def __init__(self, graph: FrozenGraph, target: targets.Target, batch_size: int):
        self.batch_size = batch_size
        self._graph = graph
        self._target = target
        self._tensors: list[schema.TensorT] = []
        self._operators: list[schema.OperatorT] = []
        self._activations: dict[str, int] = {}
        self._constants: dict[tuple, int] = {}
        self._codes: dict[tuple[str, int], int] = {}
        self._runtimes: set[str] = set()
        self._obstacles: list[str] = []
        # The first buffer is empty by convention: it stands for "no constant".
        self._buffers: dict[bytes, int] = {b"": 0}

    def write(self, interface: str, output_interface: str) -> bytes:
        graph = self._graph
        inputs = [self._add_activation(tensor) for tensor in graph.inputs]
        if interface == "uint8":
            inputs = [
                self._uint8_boundary(tensor, index, "input")
                for tensor, index in zip(graph.inputs, inputs, strict=True)
            ]
        for op in graph.operators:
            if isinstance(op, FloatBlock):
                self._add_block(op, convert_block(op, self.batch_size))
            else:
                self._add_operator(op)
        outputs = [self.activation(tensor) for tensor in graph.outputs]
        if output_interface == "uint8":
            outputs = [
                self._uint8_boundary(tensor, index, "output")
                if isinstance(tensor, Tensor)
                else index
                for tensor, index in zip(graph.outputs, outputs, strict=True)
            ]
        self._require_allowed()
        return serialize(self._model(inputs, outputs))

    # What encoders call.

    def activation(self, tensor: Tensor | FloatTensor) -> int:
        try:
            return self._activations[tensor.name]
        except KeyError:
            raise ConversionError(
                f"Tensor {tensor.name!r} is used before an operator computes it."
            ) from None

    def constant(self, name, values, scales=None, dimension=0, zero_point=0) -> int:
        values = np.ascontiguousarray(values)
        scales = None if scales is None else np.asarray(scales, np.float32)
        content = values.astype(values.dtype.newbyteorder("<")).tobytes()
        key = (
            content,
            values.dtype.str,
            values.shape,
            dimension,
            zero_point,
            None if scales is None else scales.tobytes(),
        )
        if key not in self._constants:
            quantization = None
            if scales is not None:
                zero_points = np.full(len(scales), zero_point, np.int64)
                quantization = _quantization(scales, zero_points, dimension)
            self._constants[key] = self._add_tensor(
                name,
                values.shape,
                _TENSOR_TYPES[values.dtype],
                quantization,
                self._buffers.setdefault(content, len(self._buffers)),
            )
        return self._constants[key]

    # Parts of the file.

    def _add_activation(self, tensor: Tensor | FloatTensor | IndexTensor) -> int:
        if isinstance(tensor, (FloatTensor, IndexTensor)):
            kind = _TENSOR_TYPES[np.dtype(tensor.dtype)]
            index = self._add_tensor(
                tensor.name, (self.batch_size, *tensor.shape), kind, quantization=None
            )
        else:
            index = self._add_integers(
                tensor, tensor.name, schema.TensorType.INT8, tensor.zero_point
            )
        self._name(tensor, index)
        return index

    def _name(self, tensor: Tensor | FloatTensor, index: int) -> None:
        if tensor.name in self._activations:
            raise ConversionError(f"Two tensors are named {tensor.name!r}.")
        self._activations[tensor.name] = index

    def _add_integers(self, tensor: Tensor, name: str, kind: int, zero_point: int) -> int:
        _require_grid(tensor)
        shape = (self.batch_size, *tensor.shape)
        if not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
            raise ConversionError(f"Tensor {tensor.name!r} has no fixed shape: {tensor.shape}.")
        quantization = _quantization([tensor.scale], np.array([zero_point], np.int64))
        return self._add_tensor(name, shape, kind, quantization)

    def _add_tensor(self, name, shape, kind, quantization, buffer=0) -> int:
        self._tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=kind,
                buffer=buffer,
                name=name,
                quantization=quantization,
                hasRank=True,
            )
        )
        return len(self._tensors) - 1

    def _add_operator(self, op: Operator) -> None:
        for tensor in op.outputs:
            if isinstance(tensor, Tensor):
                _require_grid(tensor)  # before encoders reckon with it
        encoded = operators.encode(op, self)
        outputs = [self._add_activation(tensor) for tensor in op.outputs]
        self._append(op.kind, op.name, encoded, outputs)

    def _add_block(self, block: FloatBlock, part: FloatPart) -> None:
        """Takes over the operators of a block that was converted by itself."""
        main = part.model.subgraphs[0]
        if part.minimum_runtime is not None:
            self._runtimes.add(part.minimum_runtime)
        numbers = {-1: -1}  # an optional operand that is left out
        for tensor, number in zip(block.inputs, part.inputs, strict=True):
            if number is not None:
                numbers[number] = self.activation(tensor)
        names = {
            number: tensor.name for tensor, number in zip(block.outputs, part.outputs, strict=True)
        }
        for number, tensor in enumerate(main.tensors):
            if number not in numbers:
                name = names.get(number, f"{block.outputs[0].name}/inside_{number}")
                numbers[number] = self._take_tensor(tensor, name, part.model)
        for tensor, number in zip(block.outputs, part.outputs, strict=True):
            self._name(tensor, numbers[number])
        for op in main.operators or ():
            code = part.model.operatorCodes[op.opcodeIndex]
            key = flatbuffer.operator_name(part.model, op), code.version
            op.opcodeIndex = self._codes.setdefault(key, len(self._codes))
            op.inputs = np.array([numbers[int(i)] for i in op.inputs], np.int32)
            op.outputs = np.array([numbers[int(i)] for i in op.outputs], np.int32)
            self._operators.append(op)

    def _take_tensor(self, tensor: schema.TensorT, name: str, model: schema.ModelT) -> int:
        data = model.buffers[tensor.buffer].data
        content = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        buffer = self._buffers.setdefault(content, len(self._buffers))
        shape = () if tensor.shape is None else tensor.shape
        return self._add_tensor(name, shape, tensor.type, None, buffer)

    def _append(self, kind: str, name: str, encoded: operators.Encoded, outputs) -> None:
        self._note_obstacle(kind, name, encoded.version)
        self._runtimes.add(runtimes.first_release(kind, encoded.version))
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=self._codes.setdefault((kind, encoded.version), len(self._codes)),
                inputs=np.array(encoded.inputs, np.int32),
                outputs=np.array(outputs, np.int32),
                builtinOptionsType=encoded.options_type,
                builtinOptions=encoded.options,
            )
        )

    def _note_obstacle(self, kind: str, name: str, version: int) -> None:
        """Remembers what the target does not take, so that one error names all of it."""
        highest = self._target.operators.get(kind, 0)
        if version <= highest:
            return
        needs = f"{kind} version {version}" if highest else kind
        takes = f"takes versions up to {highest}" if highest else f"does not take {kind}"
        obstacle = f"Layer {name!r} needs {needs}; target {self._target.name!r} {takes}"
        if self._target.runtime is not None:
            obstacle += f" (TFLite {runtimes.first_release(kind, version)} is the first that does)"
        self._obstacles.append(obstacle)

    def _require_allowed(self) -> None:
        if not self._obstacles:
            return
        advice = ""
        if self._target.runtime is not None:
            advice = (
                " Ship a newer runtime and convert for it (target='phone-2.17', with its number), "
                "or quantize for this one: mobilequant.quantize("
                f"..., target={self._target.name!r}) says what to use instead."
            )
        raise ConversionError(". ".join(self._obstacles) + "." + advice)

    def _uint8_boundary(self, tensor: Tensor, inner: int, side: str) -> int:
        """Adds the uint8 twin of an int8 input or output and the QUANTIZE between them."""
        outer = self._add_integers(
            tensor,
            f"{tensor.name}/uint8_{side}",
            schema.TensorType.UINT8,
            tensor.zero_point + _UINT8_OFFSET,
        )
        source, result = (outer, inner) if side == "input" else (inner, outer)
        encoded = operators.Encoded(1, [source], schema.QuantizeOptionsT())
        self._append("QUANTIZE", f"{tensor.name}/{side}", encoded, [result])
        return outer

    def _model(self, inputs: list[int], outputs: list[int]) -> schema.ModelT:
        graph = self._graph
        subgraph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=np.array(inputs, np.int32),
            outputs=np.array(outputs, np.int32),
            operators=self._operators,
            name="main",
        )
        signature = schema.SignatureDefT(
            inputs=_named([tensor.name for tensor in graph.inputs], inputs),
            outputs=_named([tensor.name for tensor in graph.outputs], outputs),
            signatureKey=SIGNATURE,
            subgraphIndex=0,
        )
        runtime = self._minimum_runtime().encode().ljust(16, b"\0")
        metadata = schema.MetadataT(
            name="min_runtime_version",
            buffer=self._buffers.setdefault(runtime, len(self._buffers)),
        )
        return schema.ModelT(
            version=_SCHEMA_VERSION,
            operatorCodes=[_operator_code(kind, version) for kind, version in self._codes],
            subgraphs=[subgraph],
            description=f"mobilequant {mobilequant.__version__}",
            buffers=[
                schema.BufferT(data=np.frombuffer(content, np.uint8) if content else None)
                for content in self._buffers
            ],
            metadata=[metadata],
            signatureDefs=[signature],
        )

    def _minimum_runtime(self) -> str:
        """The first runtime that takes all operators."""
        return runtimes.newest(self._runtimes or {"1.14.0"})


def _require_grid(tensor: Tensor) -> None:
    scale = tensor.scale
    if not (np.isfinite(scale) and scale > 0 and -128 <= tensor.zero_point <= 127):
        raise ConversionError(
            f"Tensor {tensor.name!r}: scale {scale} and zero point {tensor.zero_point} are no "
            "int8 quantization."
        )


def _quantization(scales, zero_points, dimension=0) -> schema.QuantizationParametersT:
    return schema.QuantizationParametersT(
        scale=np.asarray(scales, np.float32),
        zeroPoint=zero_points,
        quantizedDimension=dimension,
    )


def _operator_code(kind: str, version: int) -> schema.OperatorCodeT:
    number = getattr(schema.BuiltinOperator, kind)
    # Runtimes older than 2.4 read the operator from the one-byte field.
    return schema.OperatorCodeT(
        builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version
    )


def _named(names: list[str], indices: list[int]) -> list[schema.TensorMapT]:
    """Signature entries; a name that comes twice gets a number."""
    entries, taken = [], set()
    for name, index in zip(names, indices, strict=True):
        unique, number = name, 1
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        entries.append(schema.TensorMapT(name=unique, tensorIndex=index))
    return entries
