"""What is in a `.tflite` file: operators, interface, types, sizes. Reads any file, runs none."""

from __future__ import annotations

import collections
import dataclasses
import os
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.tables import table

#: Integer types of shapes, axes and indices; unquantized, they are no parameters.
_STRUCTURAL = (schema.TensorType.INT32, schema.TensorType.INT64)

_FLOAT = ("FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64")


@dataclasses.dataclass(frozen=True)
class TensorSummary:
    """An input or output.

    Attributes:
        name: Its name in the file.
        dtype: Type as TFLite names it, for example "INT8".
        shape: With the batch; −1 where the file leaves a size open.
        scale: None where the tensor is not quantized.
        zero_point: None where the tensor is not quantized.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None

    def __str__(self):
        text = f"{self.name} {self.dtype} {list(self.shape)}"
        if self.scale is None:
            return text
        return f"{text}, scale {self.scale:.8g}, zero point {self.zero_point}"


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        path: The file.
        size: Bytes of the file.
        description: What its writer says of itself.
        operators: How many there are of each (name, version); all subgraphs together.
        inputs: Inputs of the first subgraph.
        outputs: Outputs of the first subgraph.
        tensors: How many tensors there are of each type.
        float_tensors: Names of the tensors of a floating-point type.
        parameters: Number of weights and biases.
        weight_bytes: Bytes that they take.
        subgraphs: Number of subgraphs.
        signatures: Their names.
        minimum_runtime: First TFLite release that runs the file, as its metadata says; or None.
    """

    path: str
    size: int
    description: str
    operators: collections.Counter[tuple[str, int]]
    inputs: list[TensorSummary]
    outputs: list[TensorSummary]
    tensors: collections.Counter[str]
    float_tensors: list[str]
    parameters: int
    weight_bytes: int
    subgraphs: int
    signatures: list[str]
    minimum_runtime: str | None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it: operators as a list, all else by the attributes' names."""
        return {
            **dataclasses.asdict(self),
            "operators": [
                {"name": name, "version": version, "count": count}
                for (name, version), count in sorted(self.operators.items())
            ],
            "tensors": dict(self.tensors),
        }

    def __str__(self):
        rows = [
            (name, str(version), str(count))
            for (name, version), count in sorted(self.operators.items())
        ]
        lines = [
            f"{self.path}: {self.size:,} bytes ({self.description or 'no description'})",
            *(f"input   {tensor}" for tensor in self.inputs),
            *(f"output  {tensor}" for tensor in self.outputs),
            "",
            table(("operator", "version", "count"), rows),
            "",
            "tensors         " + ", ".join(f"{n} {t}" for t, n in self.tensors.most_common()),
            f"float tensors   {len(self.float_tensors) or 'none'}",
            f"parameters      {self.parameters:,} in {self.weight_bytes:,} bytes",
            f"subgraphs       {self.subgraphs}",
            f"signatures      {', '.join(self.signatures) or 'none'}",
            f"minimum runtime {self.minimum_runtime or 'not stated'}",
        ]
        return "\n".join(lines)


def inspect(path: str | os.PathLike) -> Inspection:
    """Says what is in a `.tflite` file.

    Args:
        path: Any TFLite file.

    Raises:
        InvalidModelError: There is no such file, it cannot be read, or it is no sound TFLite
            model.
    """
    data = flatbuffer.read_bytes(path)
    return inspect_model(flatbuffer.parse(data, path), os.fspath(path), len(data))


def inspect_model(model: schema.ModelT, path: str, size: int) -> Inspection:
    """Says what is in a parsed model; `path` and `size` are those of its file."""
    main = model.subgraphs[0]
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors or ()]
    weights = _weights(model)
    return Inspection(
        path=path,
        size=size,
        description=flatbuffer.text(model.description),
        operators=count_operators(model),
        inputs=[_summary(main.tensors[i]) for i in _indices(main.inputs)],
        outputs=[_summary(main.tensors[i]) for i in _indices(main.outputs)],
        tensors=collections.Counter(flatbuffer.TENSOR_TYPES[tensor.type] for tensor in tensors),
        float_tensors=[
            flatbuffer.text(tensor.name)
            for tensor in tensors
            if flatbuffer.TENSOR_TYPES[tensor.type] in _FLOAT
        ],
        parameters=sum(flatbuffer.elements(tensor) for tensor in weights),
        weight_bytes=sum(flatbuffer.constant_bytes(model, tensor) for tensor in weights),
        subgraphs=len(model.subgraphs),
        signatures=[flatbuffer.text(s.signatureKey) for s in model.signatureDefs or ()],
        minimum_runtime=flatbuffer.minimum_runtime(model),
    )


def count_operators(model: schema.ModelT) -> collections.Counter[tuple[str, int]]:
    """How many operators there are of each (name, version), all subgraphs together."""
    return collections.Counter(
        (flatbuffer.operator_name(model, op), model.operatorCodes[op.opcodeIndex].version)
        for subgraph in model.subgraphs
        for op in subgraph.operators or ()
    )


def _weights(model: schema.ModelT) -> list[schema.TensorT]:
    """Constants that are parameters, one for each buffer: equal ones may share theirs."""
    found = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors or ():
            structural = tensor.type in _STRUCTURAL and not _is_quantized(tensor)
            if flatbuffer.constant_bytes(model, tensor) and not structural:
                found.setdefault(tensor.buffer, tensor)
    return list(found.values())


def _is_quantized(tensor: schema.TensorT) -> bool:
    quantization = tensor.quantization
    return quantization is not None and quantization.scale is not None and len(quantization.scale)


def _summary(tensor: schema.TensorT) -> TensorSummary:
    scale = zero_point = None
    if _is_quantized(tensor):
        points = tensor.quantization.zeroPoint
        scale = float(tensor.quantization.scale[0])
        zero_point = int(points[0]) if points is not None and len(points) else 0
    # The signature has −1 where the shape has a size that only stands in for any.
    shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    return TensorSummary(
        name=flatbuffer.text(tensor.name),
        dtype=flatbuffer.TENSOR_TYPES[tensor.type],
        shape=tuple(int(n) for n in _indices(shape)),
        scale=scale,
        zero_point=zero_point,
    )


def _indices(vector):
    return () if vector is None else vector
