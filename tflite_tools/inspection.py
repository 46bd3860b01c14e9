"""What is in a `.tflite` file: operators, tensors, costs, memory. Reads any file, runs none."""

from __future__ import annotations

import os

from ai_edge_litert import schema_py_generated as schema

from tflite_tools import costs, flatbuffer
from tflite_tools.arena import activation_memory
from tflite_tools.inspection_report import Inspection
from tflite_tools.summaries import OperatorSummary, Signature, SubgraphSummary, TensorSummary


def inspect(path: str | os.PathLike) -> Inspection:
    """Says what is in a `.tflite` file.

    Args:
        path: Any TFLite file, by whomever it was written.

    Raises:
        InvalidModelError: There is no such file, it cannot be read, or it is no sound TFLite
            model.
    """
    data = flatbuffer.read_bytes(path)
    return inspect_model(flatbuffer.parse(data, path), os.fspath(path), len(data))


def inspect_model(model: schema.ModelT, path: str, size: int) -> Inspection:
    """Says what is in a parsed model; `path` and `size` are those of its file."""
    weights = costs.all_weights(model)
    return Inspection(
        path=path,
        size=size,
        schema_version=model.version,
        description=flatbuffer.text(model.description),
        subgraphs=_subgraphs(model),
        parameters=sum(map(flatbuffer.elements, weights)),
        weight_bytes=sum(flatbuffer.constant_bytes(model, tensor) for tensor in weights),
        signatures=[_signature(definition) for definition in model.signatureDefs or ()],
        metadata={
            flatbuffer.text(entry.name): _length(model.buffers[entry.buffer].data)
            for entry in model.metadata or ()
        },
        stated_runtime=flatbuffer.minimum_runtime(model),
    )


def _subgraphs(model: schema.ModelT) -> list[SubgraphSummary]:
    return [
        SubgraphSummary(
            name=flatbuffer.text(subgraph.name),
            operators=_operators(model, subgraph, weights),
            tensors=[_tensor(model, i, t) for i, t in enumerate(subgraph.tensors or ())],
            inputs=_integers(subgraph.inputs),
            outputs=_integers(subgraph.outputs),
            memory=activation_memory(model, subgraph),
        )
        for subgraph, weights in zip(model.subgraphs, costs.weights(model), strict=True)
    ]


def _operators(model, subgraph, weights: list[list[schema.TensorT]]) -> list[OperatorSummary]:
    multiply_adds = costs.multiply_adds(model, subgraph)
    summaries = []
    for index, op in enumerate(subgraph.operators or ()):
        outputs = _integers(op.outputs)
        summaries.append(
            OperatorSummary(
                index=index,
                name=flatbuffer.operator_name(model, op),
                version=model.operatorCodes[op.opcodeIndex].version,
                custom=flatbuffer.is_custom(model, op),
                inputs=_integers(op.inputs),
                outputs=outputs,
                layer=flatbuffer.text(subgraph.tensors[outputs[0]].name) if outputs else "",
                multiply_adds=multiply_adds[index],
                parameters=sum(map(flatbuffer.elements, weights[index])),
                weight_bytes=sum(flatbuffer.constant_bytes(model, t) for t in weights[index]),
                custom_bytes=_length(op.customOptions),
            )
        )
    return summaries


def _tensor(model: schema.ModelT, index: int, tensor: schema.TensorT) -> TensorSummary:
    scales, zero_points = _grid(tensor)
    details = None if tensor.quantization is None else tensor.quantization.details
    blocks = isinstance(details, schema.BlockwiseQuantizationT)
    # The signature has −1 where the shape has a size that only stands in for any.
    shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    return TensorSummary(
        index=index,
        name=flatbuffer.text(tensor.name),
        dtype=flatbuffer.TENSOR_TYPES[tensor.type],
        shape=_integers(shape),
        scales=scales,
        zero_points=zero_points,
        quantized_dimension=tensor.quantization.quantizedDimension if len(scales) > 1 else None,
        block_size=details.blockSize if blocks else None,
        constant_bytes=flatbuffer.constant_bytes(model, tensor),
        variable=bool(tensor.isVariable),
        sparse=tensor.sparsity is not None,
    )


def _grid(tensor: schema.TensorT) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Scales, and as many zero points: 0 where the file leaves them out."""
    if not costs.is_quantized(tensor):
        return (), ()
    scales = tuple(float(scale) for scale in tensor.quantization.scale)
    return scales, _integers(tensor.quantization.zeroPoint) or (0,) * len(scales)


def _signature(definition: schema.SignatureDefT) -> Signature:
    return Signature(
        name=flatbuffer.text(definition.signatureKey),
        subgraph=definition.subgraphIndex,
        inputs=_named(definition.inputs),
        outputs=_named(definition.outputs),
    )


def _named(entries) -> dict[str, int]:
    return {flatbuffer.text(entry.name): entry.tensorIndex for entry in entries or ()}


def _integers(vector) -> tuple[int, ...]:
    return () if vector is None else tuple(int(n) for n in vector)


def _length(vector) -> int:
    return 0 if vector is None else len(vector)
