"""Files that are sound flatbuffers and that LiteRT does not survive."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools.serialization import serialize


def split_by_zero() -> bytes:
    """A file with a SPLIT into no parts at all, on which LiteRT 2.3 reads beyond its memory."""
    axis, values, part = (
        _tensor("axis", schema.TensorType.INT32, (), buffer=1),
        _tensor("values", schema.TensorType.FLOAT32, (1, 4)),
        _tensor("part", schema.TensorType.FLOAT32, (1, 4)),
    )
    options = schema.SplitOptionsT()
    options.numSplits = 0
    op = schema.OperatorT()
    op.inputs, op.outputs = np.array([0, 1], np.int32), np.array([2], np.int32)
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.SplitOptions, options
    main = schema.SubGraphT()
    main.tensors, main.operators = [axis, values, part], [op]
    main.inputs, main.outputs = np.array([1], np.int32), np.array([2], np.int32)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SPLIT
    zero = schema.BufferT()
    zero.data = np.zeros(4, np.uint8)
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [main], [code]
    model.buffers = [schema.BufferT(), zero]
    return serialize(model)


def _tensor(name, kind, shape, buffer=0):
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name.encode(), kind, buffer
    tensor.shape = np.array(shape, np.int32)
    return tensor
