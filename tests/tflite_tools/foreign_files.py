"""Files of all kinds that others write: by TensorFlow's converter, and by hand for the rest."""

from __future__ import annotations

import functools

import frozen_graphs
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.emission import emit
from tflite_tools.serialization import serialize

SHAPE = (1, 8, 8, 3)


def _weights(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


@tf.function(input_signature=[tf.TensorSpec(SHAPE)])
def network(x):
    """One operator of each kind that has weights, and a product of two activations."""
    x = tf.nn.relu(tf.nn.conv2d(x, _weights(3, 3, 3, 16), 2, "SAME"))
    x = tf.nn.depthwise_conv2d(x, _weights(3, 3, 16, 1), (1, 1, 1, 1), "SAME")
    x = tf.nn.conv2d_transpose(x, _weights(2, 2, 5, 16), (1, 8, 8, 5), 2)
    rows = tf.reshape(x, (8, 40))
    rows = tf.matmul(rows, rows, transpose_b=True) @ _weights(8, 1024)
    return {"values": rows, "sums": tf.reduce_sum(rows, 1)}


@tf.function(input_signature=[tf.TensorSpec((2, 4))])
def loop(x):
    """A loop with a branch in its body."""

    def body(count, y):
        y = tf.cond(
            tf.reduce_sum(y) > 1.0, lambda: y @ _weights(4, 4), lambda: y + _weights(2, 4, seed=1)
        )
        return count + 1, y

    return tf.while_loop(lambda count, _: count < 3, body, (0, x))[1]


def _converter(function):
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], tf.Module()
    )


def _samples():
    for seed in range(3):
        yield [np.random.default_rng(seed).normal(size=SHAPE).astype("float32")]


@functools.cache
def float32() -> bytes:
    return _converter(network).convert()


@functools.cache
def dynamic_range() -> bytes:
    converter = _converter(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


@functools.cache
def float16() -> bytes:
    converter = _converter(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


@functools.cache
def int16x8() -> bytes:
    converter = _converter(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _samples
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ]
    return converter.convert()


@functools.cache
def subgraphs() -> bytes:
    return _converter(loop).convert()


@functools.cache
def recurrent() -> bytes:
    """An LSTM of Keras: a loop over 5 steps of 2 sequences."""
    cell = tf.keras.Sequential(
        [
            tf.keras.layers.Input((5, 4), batch_size=2),
            tf.keras.layers.LSTM(6, return_sequences=True),
        ]
    )
    function = tf.function(cell, input_signature=[tf.TensorSpec((2, 5, 4))])
    return _converter(function).convert()


@functools.cache
def sparse() -> bytes:
    """Nine of ten weights are zero and not stored."""
    values = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    values[np.random.default_rng(1).random((64, 64)) < 0.9] = 0

    @tf.function(input_signature=[tf.TensorSpec((1, 64))])
    def dense(x):
        return x @ tf.constant(values)

    converter = _converter(dense)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    return converter.convert()


def _own() -> schema.ModelT:
    return flatbuffer.parse(emit(frozen_graphs.classifier()))


def _operator(model, name):
    graph = model.subgraphs[0]
    op = next(op for op in graph.operators if flatbuffer.operator_name(model, op) == name)
    return op, graph.tensors[op.inputs[1]]


def int4() -> bytes:
    """The weights of one convolution in 4 bits."""
    model = _own()
    _, weights = _operator(model, "CONV_2D")
    buffer = model.buffers[weights.buffer]
    values = np.clip(np.asarray(buffer.data).view(np.int8), -7, 7).view(np.uint8) & 15
    buffer.data = values[::2] | values[1::2] << 4
    weights.type = schema.TensorType.INT4
    return serialize(model)


def behind() -> bytes:
    """All constants behind the flatbuffer, as files beyond 2 GB have them."""
    model = _own()
    contents = [b"" if b.data is None else bytes(b.data) for b in model.buffers]
    for buffer, content in zip(model.buffers, contents, strict=True):
        if content:
            # Of the size that the true ones have, so that the flatbuffer keeps its length.
            buffer.data, buffer.offset, buffer.size = None, 2**40, len(content)
    end = offset = -(-len(serialize(model)) // 16) * 16
    for buffer, content in zip(model.buffers, contents, strict=True):
        if content:
            buffer.offset, offset = offset, offset + -(-len(content) // 16) * 16
    data = serialize(model).ljust(end, b"\0")
    return data + b"".join(c.ljust(-(-len(c) // 16) * 16, b"\0") for c in contents)


def custom() -> bytes:
    """The first convolution is an operator that nobody knows."""
    model = _own()
    op, _ = _operator(model, "CONV_2D")
    model.operatorCodes.append(
        schema.OperatorCodeT(
            deprecatedBuiltinCode=schema.BuiltinOperator.CUSTOM,
            builtinCode=schema.BuiltinOperator.CUSTOM,
            customCode=b"someone's \x1b[31mown $x^2$",
            version=3,
        )
    )
    op.opcodeIndex = len(model.operatorCodes) - 1
    op.builtinOptionsType, op.builtinOptions = 0, None
    op.customOptions = np.arange(100, dtype=np.uint8)
    return serialize(model)


def blockwise() -> bytes:
    """A scale for every 4 weights, in a tensor of their own; in a file of their own."""
    model = _own()
    _, weights = _operator(model, "CONV_2D")
    weights.quantization = schema.QuantizationParametersT(
        detailsType=schema.QuantizationDetails.BlockwiseQuantization,
        details=schema.BlockwiseQuantizationT(scales=1, zeroPoints=-1, blockSize=4),
    )
    weights.buffer, weights.externalBuffer = 0, 7
    model.externalBufferGroups = [schema.ExternalBufferGroupT(name=b"weights.bin")]
    model.externalBuffers = [schema.ExternalBufferT(id=7, group=0, offset=0, length=1000)]
    return serialize(model)


FILES = {
    function.__name__: function
    for function in (
        float32, dynamic_range, float16, int16x8, subgraphs, recurrent, sparse, int4, behind,
        custom, blockwise,
    )
}  # fmt: skip
