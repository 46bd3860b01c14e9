"""Models of the schema's object API as the bytes of a file."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of constants, demanded by the schema; kernels read them in place


def serialize(model: schema.ModelT) -> bytes:
    """Serializes a model of the schema's object API, constants aligned as runtimes want them."""
    builder = flatbuffers.Builder(1024)
    buffers = model.buffers
    try:
        model.buffers = [_AlignedBuffer(buffer) for buffer in buffers]
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    finally:
        model.buffers = buffers
    return bytes(builder.Output())


def with_outputs(model: schema.ModelT, indices: list[int]) -> bytes:
    """A copy of a file with other tensors of its first subgraph as outputs.

    Args:
        model: The parsed file; left as it is.
        indices: Numbers of the tensors.
    """
    main = model.subgraphs[0]
    outputs, signatures = main.outputs, model.signatureDefs
    try:
        main.outputs, model.signatureDefs = np.array(indices, np.int32), None
        return serialize(model)
    finally:
        main.outputs, model.signatureDefs = outputs, signatures


class _AlignedBuffer:
    """A buffer that starts at a multiple of 16 bytes; the generated class does not see to it."""

    def __init__(self, buffer: schema.BufferT):
        self._buffer = buffer

    def Pack(self, builder):
        buffer = self._buffer
        data = None
        if buffer.data is not None and len(buffer.data):
            content = np.asarray(buffer.data, np.uint8).tobytes()
            builder.StartVector(1, len(content), _ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        schema.BufferAddOffset(builder, buffer.offset)
        schema.BufferAddSize(builder, buffer.size)
        return schema.BufferEnd(builder)
