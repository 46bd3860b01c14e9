"""What is written computes, in LiteRT, what the NumPy reference says, bit for bit."""

import dataclasses

import frozen_graphs
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mobilequant import targets
from tflite_tools import flatbuffer
from tflite_tools.emission import SIGNATURE, emit
from tflite_tools.errors import ConversionError
from tflite_tools.interpreter import Interpreter

BATCH = 3


def assert_exact(graph, delegated=True, seed=0):
    """File and reference agree on every integer; XNNPACK took over every operator (or none)."""
    inputs = frozen_graphs.random_inputs(graph, BATCH, seed)
    expected = frozen_graphs.run(graph, inputs)
    model = Interpreter(emit(graph, batch_size=BATCH))
    # The delegate's node comes behind the operators of the file.
    assert model.operators()[len(graph.operators) :] == ["DELEGATE"] * delegated
    for tensor, got in zip(graph.outputs, model.run(*inputs), strict=True):
        np.testing.assert_array_equal(got, expected[tensor.name])


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(activation, padding, strides, dilation, bias):
    b = frozen_graphs.Builder(strides + dilation)
    x = b.input((9, 8, 5))
    y = b.conv(x, 7, 3, strides, padding, activation, dilation, bias)
    assert_exact(b.finish(y))


@pytest.mark.parametrize("activation", ["NONE", "RELU6"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "strides"), [(1, 1), (3, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_convolution(activation, padding, kernel, strides, multiplier):
    b = frozen_graphs.Builder(kernel)
    x = b.input((9, 8, 5))
    y = b.depthwise(x, kernel, strides, padding, activation, multiplier)
    assert_exact(b.finish(y))


@pytest.mark.parametrize("units", [1, 10, 64])
@pytest.mark.parametrize("activation", ["NONE", "RELU"])
def test_fully_connected(units, activation):
    b = frozen_graphs.Builder(units)
    y = b.dense(b.input((37,)), units, activation)
    assert_exact(b.finish(y))


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6"])
@pytest.mark.parametrize("seed", range(6))
def test_addition_over_extreme_scale_ratios(activation, seed):
    b = frozen_graphs.Builder(seed)
    # XNNPACK takes ratios in [2⁻¹⁰, 2⁸); what lies outside runs elsewhere, in other arithmetic.
    scales = 0.02 * 2.0 ** b.random.uniform(-9.5, 7.9, 2)
    first = b.input((5, 7, 3), name="a", scale=scales[0])
    second = b.input((5, 7, 3), name="b", scale=scales[1])
    assert_exact(b.finish(b.add(first, second, activation, scale=0.02)))


@pytest.mark.parametrize("axes", [(1, 2), (1,), (2,)])
@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (4, 13)])
def test_mean(axes, keepdims, size):
    b = frozen_graphs.Builder(sum(size))
    assert_exact(b.finish(b.mean(b.input((*size, 5)), axes, keepdims)))


@pytest.mark.parametrize("classes", [2, 10, 1001])
@pytest.mark.parametrize("scale", [0.005, 0.05, 0.5])
def test_softmax_within_one_step(classes, scale):
    b = frozen_graphs.Builder(classes)
    graph = b.finish(b.softmax(b.input((classes,), scale=scale)))
    inputs = frozen_graphs.random_inputs(graph, BATCH)
    got = Interpreter(emit(graph, batch_size=BATCH)).run(*inputs)[0]
    steps = np.abs(got.astype(int) - frozen_graphs.run(graph, inputs)["softmax_0"])
    assert steps.max() <= targets.get("phone").max_steps["SOFTMAX"]


def test_pad_and_reshape():
    b = frozen_graphs.Builder()
    x = b.pad(b.input((4, 5, 3)), ((0, 1), (2, 0), (0, 0)))
    assert_exact(b.finish(b.reshape(x, (105,))))


def test_several_inputs_and_outputs():
    b = frozen_graphs.Builder()
    left, right = b.input((4, 4, 3), name="left"), b.input((4, 4, 3), name="right")
    total = b.add(left, right, name="total", scale=0.05)
    graph = b.finish(b.mean(total, name="pooled"), total)
    assert_exact(graph)
    signature = flatbuffer.parse(emit(graph)).signatureDefs[0]
    assert signature.signatureKey == SIGNATURE.encode()
    assert [entry.name for entry in signature.inputs] == [b"left", b"right"]
    assert [entry.name for entry in signature.outputs] == [b"pooled", b"total"]


@pytest.mark.parametrize("seed", range(4))
def test_whole_network(seed):
    assert_exact(frozen_graphs.classifier(seed, softmax=False), seed=seed)


@pytest.mark.parametrize("seed", range(2))
def test_uint8_interface_is_the_int8_one_moved_by_128(seed):
    graph = frozen_graphs.classifier(seed)
    images = frozen_graphs.random_inputs(graph, BATCH, seed)[0]
    int8 = Interpreter(emit(graph)).run(images)[0]
    model = Interpreter(emit(graph, interface="uint8"))
    (inside,), (outside,) = graph.inputs, model.inputs
    assert (outside.scale, outside.zero_point) == (inside.scale, inside.zero_point + 128)
    uint8 = model.run((images.astype(np.int16) + 128).astype(np.uint8))[0]
    np.testing.assert_array_equal(uint8.astype(np.int16) - 128, int8)


def test_versions_are_the_lowest():
    model = flatbuffer.parse(emit(frozen_graphs.classifier(), interface="uint8"))
    versions = {
        flatbuffer.OPERATORS[flatbuffer.builtin_code(code)]: code.version
        for code in model.operatorCodes
    }
    assert versions == {
        "ADD": 2,
        "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 3,
        "FULLY_CONNECTED": 4,
        "MEAN": 2,
        "PAD": 2,
        "QUANTIZE": 1,
        "SOFTMAX": 2,
    }


def test_same_graph_same_bytes():
    assert emit(frozen_graphs.classifier()) == emit(frozen_graphs.classifier())


def test_equal_constants_are_stored_once():
    b = frozen_graphs.Builder()
    x = b.input((4, 4, 3))
    first = b.mean(x, name="one")
    model = flatbuffer.parse(emit(b.finish(first, b.mean(x, name="two"))))
    # The image, two means, one list of axes.
    assert len(model.subgraphs[0].tensors) == 4


def test_constants_are_aligned():
    data = emit(frozen_graphs.classifier())
    for buffer in flatbuffer.parse(data).buffers:
        if buffer.data is not None and len(buffer.data):
            assert buffer.data.__array_interface__["data"][0] % 16 == _address(data) % 16


def _address(data):
    return np.frombuffer(data, np.uint8).__array_interface__["data"][0]


def test_per_channel_scales_lie_along_the_output_channels():
    b = frozen_graphs.Builder()
    x = b.conv(b.input((6, 6, 3)), 5, name="conv")
    graph = b.finish(b.dense(b.mean(b.depthwise(x, multiplier=2, name="dw")), 4, name="fc"))
    tensors = {t.name: t for t in flatbuffer.parse(emit(graph)).subgraphs[0].tensors}
    found = {
        name: (list(t.shape), t.quantization.quantizedDimension, len(t.quantization.scale))
        for name, t in tensors.items()
        if name.endswith(b"/weights")
    }
    assert found == {
        b"conv/weights": ([5, 3, 3, 3], 0, 5),
        b"dw/weights": ([1, 3, 3, 10], 3, 10),
        b"fc/weights": ([4, 10], 0, 1),
    }
    assert all(t.type == schema.TensorType.INT32 for n, t in tensors.items() if b"/bias" in n)


def test_operator_unknown_to_the_target():
    target = dataclasses.replace(targets.get("phone"), operators={"CONV_2D": 3})
    with pytest.raises(ConversionError, match="'depthwise' needs.*does not take DEPTHWISE_CONV_2D"):
        emit(frozen_graphs.classifier(), target=target)


def test_version_above_the_target():
    b = frozen_graphs.Builder()
    graph = b.finish(b.dense(b.input((8,)), 4, name="head", scales=4))
    with pytest.raises(ConversionError, match="'head' needs FULLY_CONNECTED version 12"):
        emit(graph)


def test_all_that_an_older_runtime_lacks_in_one_message():
    b = frozen_graphs.Builder()
    x = b.input((4, 4, 6))
    for _ in range(2):
        x = b.conv(x, 6)
        weights = b.graph.operators[-1].weights
        weights.values = np.ascontiguousarray(weights.values[:, :, :3])
    graph = b.finish(x)
    emit(graph, target="phone-2.9")
    with pytest.raises(ConversionError) as caught:
        emit(graph, target="phone-2.8")
    message = str(caught.value)
    assert "'conv_2d_0' needs CONV_2D version 6" in message and "'conv_2d_1' needs" in message
    assert "takes versions up to 3 (TFLite 2.9.0 is the first that does)" in message
    assert message.count("Ship a newer runtime") == 1


def test_unknown_operator():
    graph = frozen_graphs.classifier()
    graph.operators[0].kind = "CUMSUM"
    with pytest.raises(ConversionError, match="'stem'.*CUMSUM"):
        emit(graph)


@pytest.mark.parametrize("interface", ["float32", "int16"])
def test_interface_that_the_target_does_not_take(interface):
    with pytest.raises(ConversionError, match=interface):
        emit(frozen_graphs.classifier(), interface=interface)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scale_that_is_none(scale):
    graph = frozen_graphs.classifier()
    graph.operators[2].outputs[0].scale = np.float32(scale)
    with pytest.raises(ConversionError, match="'depthwise'"):
        emit(graph)


def test_weights_of_minus_128():
    graph = frozen_graphs.classifier()
    graph.operators[0].weights.values[0] = -128
    with pytest.raises(ConversionError, match="'stem'.*-127"):
        emit(graph)


@pytest.mark.parametrize("multiplier", [255, 257])
def test_output_range_that_is_next_to_nothing(multiplier):
    b = frozen_graphs.Builder()
    x = b.input((20,), scale=0.02)
    y = b.dense(x, 6, name="head")
    y.scale = x.scale * b.graph.operators[0].weights.scales[0] / np.float32(multiplier)
    graph = b.finish(y)
    if multiplier < 256:
        assert_exact(graph)
    else:
        with pytest.raises(ConversionError, match="'head'.*too small"):
            emit(graph)
