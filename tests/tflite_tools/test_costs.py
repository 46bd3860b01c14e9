"""Multiply-adds and weights by operator, on files of others and on graphs made by hand."""

import math

import foreign_files
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import costs, flatbuffer

FILES = foreign_files.FILES


def by_name(content):
    """(name, multiply-adds, bytes of weights) of each operator of the first subgraph."""
    model = flatbuffer.parse(content)
    graph = model.subgraphs[0]
    return [
        (
            flatbuffer.operator_name(model, op),
            count,
            sum(flatbuffer.constant_bytes(model, tensor) for tensor in weights),
        )
        for op, count, weights in zip(
            graph.operators,
            costs.multiply_adds(model, graph),
            costs.weights(model)[0],
            strict=True,
        )
    ]


#: Of `foreign_files.network`, from the definition of each layer.
NETWORK = {
    "CONV_2D": (4 * 4 * 16) * (3 * 3 * 3),
    "DEPTHWISE_CONV_2D": (4 * 4 * 16) * (3 * 3),
    "TRANSPOSE_CONV": (4 * 4 * 16) * (2 * 2 * 5),
    "FULLY_CONNECTED": 8 * 8 * 40 + 8 * 8 * 1024,
}


@pytest.mark.parametrize("kind", ["float32", "dynamic_range", "float16", "int16x8"])
def test_multiply_adds_do_not_depend_on_types(kind):
    found = {}
    for name, count, _ in by_name(FILES[kind]()):
        found[name] = found.get(name, 0) + count
    assert {name: count for name, count in found.items() if count} == NETWORK


def test_weights_are_with_the_operator_that_computes_with_them():
    """In float16 files a DEQUANTIZE reads them, in sparse ones a DENSIFY."""
    weights = {
        "CONV_2D": 3 * 3 * 3 * 16 + 16,
        "DEPTHWISE_CONV_2D": 3 * 3 * 16,
        "TRANSPOSE_CONV": 2 * 2 * 5 * 16,
        "FULLY_CONNECTED": 8 * 1024,
    }
    for kind, size in (("float16", 2), ("float32", 4)):
        found = {name: bytes_ for name, _, bytes_ in by_name(FILES[kind]()) if bytes_}
        assert found == {name: size * count for name, count in weights.items()}
    densify, dense = by_name(FILES["sparse"]())
    assert densify[2] == 0 and 0 < dense[2] < 4 * 64 * 64 / 2 and dense[1] == 64 * 64


def test_every_constant_counts_once():
    for make in FILES.values():
        model = flatbuffer.parse(make())
        read = [t for graph in costs.weights(model) for op in graph for t in op]
        everything = costs.all_weights(model)
        assert len({(t.buffer, t.externalBuffer) for t in everything}) == len(everything)
        assert len(read) <= len(everything)
        total = sum(flatbuffer.constant_bytes(model, t) for t in everything)
        assert sum(flatbuffer.constant_bytes(model, t) for t in read) == total


def test_recurrent_layers_count_each_step(shared):
    path = shared / "reference/edgetpu/keras_lstm_mnist_ptq.tflite"
    (lstm,) = [row for row in by_name(path.read_bytes()) if "LSTM" in row[0]]
    steps, inputs, units = 28, 28, 20
    assert lstm[1] == steps * 4 * units * (inputs + units)


def count(name, inputs, output, options=None, constants=()):
    """Multiply-adds of one operator: shapes of its inputs (None is left out) and output."""
    shapes = [shape for shape in (*inputs, output) if shape is not None]
    tensors = [
        schema.TensorT(shape=np.array(shape), type=0, buffer=int(shape in constants))
        for shape in shapes
    ]
    present = iter(range(len(shapes)))
    op = schema.OperatorT(
        inputs=[-1 if shape is None else next(present) for shape in inputs],
        outputs=[next(present)],
        builtinOptions=options,
    )
    code = schema.OperatorCodeT(builtinCode=getattr(schema.BuiltinOperator, name))
    graph = schema.SubGraphT(tensors=tensors, operators=[op])
    buffers = [schema.BufferT(), schema.BufferT(data=b"1234")]
    model = schema.ModelT(operatorCodes=[code], subgraphs=[graph], buffers=buffers)
    return costs.multiply_adds(model, graph)[0]


def test_products_of_activations():
    left, right, output = (2, 3, 5, 7), (2, 3, 7, 11), (2, 3, 5, 11)
    products = math.prod(output) * 7
    assert count("BATCH_MATMUL", [left, right], output) == products
    options = schema.BatchMatMulOptionsT(adjX=True)
    assert count("BATCH_MATMUL", [(2, 3, 7, 5), right], output, options) == products


def test_groups():
    assert count("CONV_2D", [(1, 8, 8, 12), (20, 3, 3, 4)], (1, 8, 8, 20)) == 64 * 20 * 9 * 4


def test_three_dimensions():
    kernel = (2, 3, 5, 4, 6)
    assert count("CONV_3D", [(1, 9, 9, 9, 4), kernel], (1, 8, 8, 8, 6)) == 512 * 6 * 30 * 4
    back = (2, 3, 5, 6, 4)
    inputs = [(5,), back, (1, 8, 8, 8, 4)]
    assert count("CONV_3D_TRANSPOSE", inputs, (1, 9, 9, 9, 6)) == 512 * 4 * 30 * 6


def test_recurrent_with_inputs_left_out():
    matrices = [(6, 4), (6, 5)]
    inputs = [(7, 2, 4), None, matrices[0], (6,), matrices[1]]
    assert count("RNN", inputs, (7, 2, 6), constants=[*matrices, (6,)]) == 7 * 2 * (24 + 30)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("CONV_2D", []),
        ("CONV_2D", [(1, 2, 2, 1), None]),
        ("CONV_2D", [(1, 2, 2, 1), ()]),
        ("DEPTHWISE_CONV_2D", [(1, 2, 2, 1), (3,)]),
        ("TRANSPOSE_CONV", [(4,), (1, 2, 2, 1)]),
        ("FULLY_CONNECTED", [(1, 2), ()]),
        ("BATCH_MATMUL", [(), ()]),
        ("RNN", [()]),
        ("CUSTOM", [(1,)]),
        ("STABLEHLO_DOT_GENERAL", [(1,)]),
    ],
)
def test_nobody_can_tell(name, inputs):
    assert count(name, inputs, (1, 2, 2, 1)) is None


def test_options_of_another_kind():
    options = schema.PadOptionsT()
    assert count("BATCH_MATMUL", [(2, 2), (2, 2)], (2, 2), options) is None


def test_cheap_operators():
    assert count("ADD", [(4,), (4,)], (4,)) == 0
