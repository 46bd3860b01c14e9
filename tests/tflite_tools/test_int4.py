"""INT4 weights: their bytes, which operators take them, and what LiteRT computes from them."""

import frozen_graphs
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mobilequant.integer.graph import Weights
from tflite_tools import flatbuffer, int4
from tflite_tools.emission import emit
from tflite_tools.interpreter import Interpreter
from tflite_tools.serialization import serialize


class Builder(frozen_graphs.Builder):
    """Weights of few bits, and outputs that still spread over most of int8."""

    largest = 7

    def _integers(self, shape):
        return self.random.integers(-self.largest, self.largest + 1, shape).astype(np.int8)

    def _weighted(self, *args, **options):
        y = super()._weighted(*args, **options)
        weights = self.graph.operators[-1].weights
        weights.scales *= np.float32(73 / (0.6 * self.largest))
        weights.bias //= 100
        return y


def packed(graph, where="fast", batch_size=1):
    """The file as it is, the packed one, and what is said of its weights."""
    before = emit(graph, batch_size=batch_size)
    model = flatbuffer.parse(before)
    weights = int4.pack_weights(model, where)
    after = serialize(model)
    flatbuffer.parse(after)
    return before, after, weights


def steps(graph, where="fast", batch_size=1, kernels="default"):
    """How far the packed file's outputs lie from the file's, on the same kernels."""
    before, after, _ = packed(graph, where, batch_size)
    inputs = frozen_graphs.random_inputs(graph, batch_size, seed=1)
    expected, got = (Interpreter(d, kernels=kernels).run(*inputs)[0] for d in (before, after))
    assert np.unique(expected).size > min(expected.size, 20) / 2
    return np.abs(expected.astype(int) - got)


@given(arrays(np.int8, st.integers(0, 40), elements=st.integers(-8, 7)))
def test_packed_and_unpacked(integers):
    data = int4.pack(integers)
    assert data.dtype == np.uint8 and len(data) == -(-len(integers) // 2)
    np.testing.assert_array_equal(int4.unpack(data, len(integers)), integers)


def test_the_first_integer_is_in_the_lower_half():
    assert int4.pack(np.array([1, 2, -1, -7, 5])).tolist() == [0x21, 0x9F, 0x05]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(["conv", "dense", "dense of rank 3"]),
    inputs=st.integers(1, 20),
    units=st.integers(1, 17),
    largest=st.sampled_from([1, 3, 7]),
    activation=st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]),
    kernels=st.sampled_from(["default", "builtin"]),
)
def test_dense_layers_and_pointwise_convolutions_stay_equal(
    seed, kind, inputs, units, largest, activation, kernels
):
    b = Builder(seed)
    b.largest = largest
    if kind == "conv":
        y = b.conv(b.input((5, 4, 2 * inputs)), units, kernel=1, activation=activation)
    else:
        shape = (2 * inputs,) if kind == "dense" else (6, 2 * inputs)
        y = b.dense(b.input(shape), units, activation)
    graph = b.finish(y)
    before, after, (weights,) = packed(graph, batch_size=3)
    assert weights.reason is None and weights.elements == 2 * inputs * units
    data = [Interpreter(d, kernels=kernels) for d in (before, after)]
    x = frozen_graphs.random_inputs(graph, 3, seed)
    np.testing.assert_array_equal(*(interpreter.run(*x)[0] for interpreter in data))
    if kernels == "default":
        assert data[1].operators()[-1] == "DELEGATE"


def pointwise_with_bias(channel_weights, bias, scale):
    """A 1×1 convolution of which the first channel has this bias, to give 40 steps by it."""
    b = Builder(1)
    y = b.conv(b.input((5, 4, 8)), 4, kernel=1)
    op = b.graph.operators[-1]
    op.weights.values[..., 0] = channel_weights
    op.weights.bias[0] = bias
    op.weights.scales[0] = scale * float(op.outputs[0].scale) / op.inputs[0].scale / abs(bias)
    return b.finish(y)


@pytest.mark.parametrize("bias", [2**26, 2**27, 2**30, -(2**30), 3 * 2**28])
def test_channels_without_weights_may_have_any_bias(bias):
    """XNNPACK sums 16 times the bias in 32 bits; the scale of zeros is free."""
    graph = pointwise_with_bias(0, bias, 40)
    assert steps(graph).max() == 0
    _, _, (weights,) = packed(graph)
    assert weights.reason is None


@pytest.mark.parametrize(("channel", "bias"), [(1, 2**28), (0, 2**27 + 1)])
def test_sums_that_xnnpack_cannot_hold_stay_int8(channel, bias):
    graph = pointwise_with_bias(channel, bias, 40)
    _, _, (weights,) = packed(graph)
    assert "28 bits" in weights.reason
    assert steps(graph).max() == 0


OTHERS = {
    "3x3": lambda b: b.conv(b.input((9, 9, 6)), 8),
    "strides": lambda b: b.conv(b.input((9, 9, 6)), 8, kernel=1, strides=2),
    "dilation": lambda b: b.conv(b.input((9, 9, 6)), 8, dilation=2),
    "odd channels": lambda b: b.conv(b.input((9, 9, 5)), 7, kernel=1),
    "depthwise": lambda b: b.depthwise(b.input((9, 9, 7))),
    "multiplier": lambda b: b.depthwise(b.input((9, 9, 6)), multiplier=2),
    "odd dense": lambda b: b.dense(b.input((33,)), 30),
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_others_lie_a_step_off_at_most(name):
    worst, equal = 0, []
    for seed in range(4):
        b = Builder(seed)
        graph = b.finish(OTHERS[name](b))
        _, fast, (left,) = packed(graph)
        assert "slower kernel" in left.reason
        assert flatbuffer.parse(fast).subgraphs[0].tensors[1].type == schema.TensorType.INT8
        _, _, (taken,) = packed(graph, "all")
        assert taken.reason is None
        found = steps(graph, "all")
        worst, equal = max(worst, found.max()), [*equal, (found == 0).mean()]
        # The same kernels compute the same from both.
        if name != "odd dense":
            assert steps(graph, "all", kernels="builtin").max() == 0
    assert worst <= 1 and np.mean(equal) > 0.9


def network(target="phone"):
    b = Builder(target=target, name="network")
    x = b.conv(b.input((8, 8, 4)), 8, activation="RELU6", name="stem")
    y = b.conv(x, 24, kernel=1, name="expand")
    y = b.depthwise(y, name="depthwise")
    y = b.conv(y, 8, kernel=1, name="project")
    x = b.add(x, y, name="add", scale=max(x.scale, y.scale) * np.float32(1.3), zero_point=3)
    return b.finish(b.dense(b.mean(x, name="pool"), 10, name="logits"))


def test_what_changes_in_a_file_and_what_does_not():
    graph = network()
    before, after, weights = packed(graph)
    assert {w.name: w.operator for w in weights if w.reason is None} == {
        "expand/weights": "CONV_2D",
        "project/weights": "CONV_2D",
        "logits/weights": "FULLY_CONNECTED",
    }
    assert {w.name for w in weights if w.reason} == {"stem/weights", "depthwise/weights"}
    old, new = flatbuffer.parse(before), flatbuffer.parse(after)
    integers = {op.name: op.weights.values for op in graph.operators if op.weights}
    for a, b in zip(old.subgraphs[0].tensors, new.subgraphs[0].tensors, strict=True):
        assert a.name == b.name
        if a.quantization is not None:
            np.testing.assert_array_equal(a.quantization.scale, b.quantization.scale)
        if b.type == schema.TensorType.INT4:
            values = integers[flatbuffer.text(a.name).split("/")[0]]
            count = flatbuffer.elements(b)
            found = int4.unpack(new.buffers[b.buffer].data, count).reshape(b.shape)
            np.testing.assert_array_equal(found.T, values.reshape(-1, values.shape[-1]))
        else:
            assert a.type == b.type and list(a.shape) == list(b.shape)
    codes = {
        (flatbuffer.OPERATORS[flatbuffer.builtin_code(c)], c.version) for c in new.operatorCodes
    }
    assert ("CONV_2D", 3) in codes and ("FULLY_CONNECTED", 12) in codes
    assert ("FULLY_CONNECTED", 10) in codes  # one scale
    assert flatbuffer.minimum_runtime(old) == "1.14.0"
    assert flatbuffer.minimum_runtime(new) == "2.17.0"
    half = sum(w.elements for w in weights if w.reason is None) // 2
    assert sum(len(b.data) for b in new.buffers[1:]) == (
        sum(len(b.data) for b in old.buffers[1:]) - half
    )


def test_all_of_it_runs_as_before():
    _, after, _ = packed(network())
    assert steps(network()).max() == 0
    assert Interpreter(after).operators().count("DELEGATE") == 1


def test_integers_beyond_seven_stay():
    for value in (8, -8):
        b = Builder()
        graph = b.finish(b.dense(b.input((8,)), 4))
        graph.operators[0].weights.values[0, 0] = value
        before, after, weights = packed(graph)
        assert weights == [] and after == before
    assert "no weights of 4 bits or less" in int4.describe([])[0]


def test_weights_that_two_operators_share():
    """Both must take them; here the second, with strides, is none that XNNPACK takes."""
    b = Builder()
    x = b.input((8, 8, 6))
    y, z = b.conv(x, 6, kernel=1), b.conv(x, 6, kernel=1, strides=2)
    first, second = b.graph.operators
    second.weights = Weights(first.weights.values, first.weights.scales, 4, second.weights.bias)
    graph = b.finish(y, z)
    (left,) = packed(graph)[2]
    assert "slower" in left.reason
    _, after, (taken,) = packed(graph, "all")
    assert taken.reason is None
    assert {op.builtinOptionsType for op in flatbuffer.parse(after).subgraphs[0].operators} == {
        schema.BuiltinOptions.Conv2DOptions
    }
    assert Interpreter(after).run(*frozen_graphs.random_inputs(graph, 1))


def weights_tensor(model):
    return next(t for t in model.subgraphs[0].tensors if b"weights" in t.name)


def with_zero_point(model):
    weights_tensor(model).quantization.zeroPoint = np.array([1])


def without_scale(model):
    weights_tensor(model).quantization = None


def as_an_output(model):
    main = model.subgraphs[0]
    number = main.tensors.index(weights_tensor(model))
    main.outputs = np.append(main.outputs, np.int32(number))


def of_int16(model):
    main = model.subgraphs[0]
    main.tensors[main.inputs[0]].type = schema.TensorType.INT16


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_zero_point, "zero point"),
        (without_scale, "no scale"),
        (as_an_output, "something else"),
        (of_int16, "not int8"),
    ],
)
def test_weights_of_others_that_no_kernel_takes(change, reason):
    b = Builder()
    model = flatbuffer.parse(emit(b.finish(b.dense(b.input((8,)), 4))))
    change(model)
    (weights,) = int4.pack_weights(model, "all")
    assert reason in weights.reason
    assert weights_tensor(model).type == schema.TensorType.INT8


def test_transposed_convolutions_stay():
    b = Builder()
    x = b.input((5, 5, 4))
    values = b._integers((3, 3, 6, 4))
    y = b._weighted(
        "TRANSPOSE_CONV", x, (10, 10, 6), values, 6, "NONE", True, None,
        strides=(2, 2), padding="SAME",
    )  # fmt: skip
    (weights,) = packed(b.finish(y), "all")[2]
    assert weights.reason == "TRANSPOSE_CONV does not take INT4"


def test_where_is_one_of_two():
    with pytest.raises(ValueError, match="fast, all; got 'everywhere'"):
        int4.pack_weights(flatbuffer.parse(emit(network())), "everywhere")
