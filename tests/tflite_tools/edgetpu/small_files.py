"""TFLite files of a few operators, of any kind and version, as nobody's converter writes them."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import edgetpu, flatbuffer
from tflite_tools.serialization import serialize

_DTYPES = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT32": np.float32,
}


class SmallFile:
    """Add tensors and operators, then `plan` it."""

    def __init__(self):
        self.tensors, self.buffers = [], [schema.BufferT()]
        self.operators, self.codes = [], []
        self.inputs = []

    def tensor(self, *shape, dtype="INT8", scales=None, signature=None, values=None, name=None):
        """Number of a new tensor; int8 and uint8 ones are quantized unless `scales` is 0."""
        scales = int(dtype in ("INT8", "UINT8")) if scales is None else scales
        quantization = schema.QuantizationParametersT(
            scale=np.full(scales, 0.5, np.float32), zeroPoint=np.zeros(scales, np.int64)
        )
        buffer = 0
        if values is not None:
            data = np.broadcast_to(np.asarray(values, _DTYPES[dtype]), shape).tobytes()
            buffer = len(self.buffers)
            self.buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        self.tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                shapeSignature=None if signature is None else np.array(signature, np.int32),
                type=getattr(schema.TensorType, dtype),
                buffer=buffer,
                name=name or f"t{len(self.tensors)}",
                quantization=quantization,
            )
        )
        return len(self.tensors) - 1

    def input(self, *shape, **options):
        self.inputs.append(self.tensor(*shape, **options))
        return self.inputs[-1]

    def integers(self, *values):
        return self.tensor(len(values), dtype="INT32", values=values)

    def op(self, kind, inputs, *outputs, version=1, options=None):
        """Adds an operator; returns its first output. A kind unknown to TFLite is a custom one."""
        number = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
        custom = None if number != schema.BuiltinOperator.CUSTOM else kind
        self.codes.append(
            schema.OperatorCodeT(
                builtinCode=number,
                deprecatedBuiltinCode=min(number, 127),
                customCode=custom,
                version=version,
            )
        )
        options_name = type(options).__name__.removesuffix("T")
        self.operators.append(
            schema.OperatorT(
                opcodeIndex=len(self.codes) - 1,
                inputs=np.array(inputs, np.int32),
                outputs=np.array(outputs, np.int32),
                builtinOptionsType=getattr(schema.BuiltinOptions, options_name, 0),
                builtinOptions=options,
            )
        )
        return outputs[0]

    def bytes(self):
        last = self.operators[-1].outputs if self.operators else []
        subgraph = schema.SubGraphT(
            tensors=self.tensors,
            inputs=np.array(self.inputs, np.int32),
            outputs=np.array(last, np.int32),
            operators=self.operators,
        )
        return serialize(
            schema.ModelT(
                version=3, operatorCodes=self.codes, subgraphs=[subgraph], buffers=self.buffers
            )
        )

    def plan(self):
        return edgetpu.plan_model(flatbuffer.parse(self.bytes()), "small.tflite")


def options(name, **values):
    """Options of an operator, for example `options("Pool2D", fusedActivationFunction=1)`."""
    found = getattr(schema, f"{name}OptionsT")()
    for key, value in values.items():
        assert hasattr(found, key)
        setattr(found, key, value)
    return found
