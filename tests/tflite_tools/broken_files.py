"""Files by hand, sound flatbuffers: of some LiteRT does not come back, one leaves things out."""

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
    main = _subgraph([axis, values, part], [1], [2])
    main.operators = [_operator(0, [0, 1], [2], schema.BuiltinOptions.SplitOptions, options)]
    zero = schema.BufferT()
    zero.data = np.zeros(4, np.uint8)
    return _file([main], ["SPLIT"], [schema.BufferT(), zero])


def endless_loop() -> bytes:
    """A file with a WHILE whose condition, a value equal to itself, always holds."""
    number, truth = schema.TensorType.FLOAT32, schema.TensorType.BOOL
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    main, condition, body = (
        _subgraph([_tensor("before", number, (1,)), _tensor("after", kind, (1,))], [0], [1])
        for kind in (number, truth, number)
    )
    main.operators = [_operator(0, [0], [1], schema.BuiltinOptions.WhileOptions, options)]
    condition.operators, body.operators = [_operator(1, [0, 0], [1])], [_operator(2, [0], [1])]
    return _file([main, condition, body], ["WHILE", "EQUAL", "ABS"], [schema.BufferT()])


def variable() -> bytes:
    """A file that writes its input into a variable; that operator has no outputs, not even none."""
    number, handle = schema.TensorType.FLOAT32, schema.TensorType.RESOURCE
    options = schema.VarHandleOptionsT()
    options.container, options.sharedName = b"", b"kept"
    main = _subgraph(
        [_tensor("x", number, (1, 4)), _tensor("kept", handle, ()), _tensor("y", number, (1, 4))],
        [0],
        [2],
    )
    main.operators = [
        _operator(0, [], [1], schema.BuiltinOptions.VarHandleOptions, options),
        _operator(1, [1, 0], None),
        _operator(2, [1], [2]),
    ]
    return _file([main], ["VAR_HANDLE", "ASSIGN_VARIABLE", "READ_VARIABLE"], [schema.BufferT()])


def _file(subgraphs, operators, buffers) -> bytes:
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, subgraphs, buffers, []
    for name in operators:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        model.operatorCodes.append(code)
    return serialize(model)


def _subgraph(tensors, inputs, outputs):
    graph = schema.SubGraphT()
    graph.tensors = tensors
    graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    return graph


def _operator(code, inputs, outputs, kind=schema.BuiltinOptions.NONE, options=None):
    op = schema.OperatorT()
    op.opcodeIndex = code
    op.inputs = np.array(inputs, np.int32)
    op.outputs = None if outputs is None else np.array(outputs, np.int32)
    op.builtinOptionsType, op.builtinOptions = kind, options
    return op


def _tensor(name, kind, shape, buffer=0):
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name.encode(), kind, buffer
    tensor.shape = np.array(shape, np.int32)
    return tensor
