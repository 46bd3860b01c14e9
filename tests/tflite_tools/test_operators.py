"""Encoders: the oldest versions, and refusals of what LiteRT would compute in another way."""

import dataclasses
import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mobilequant import operator_versions, targets
from mobilequant.integer import Constant, FrozenGraph, Operator, Tensor, Weights
from tflite_tools import conversion, flatbuffer, operators, runtimes
from tflite_tools.emission import emit
from tflite_tools.errors import ConversionError
from tflite_tools.interpreter import Interpreter

SHAPE = (4, 6, 8)


def tensor(name, shape=SHAPE, scale=0.5, zero_point=3):
    return Tensor(name, shape, np.float32(scale), zero_point)


def graph_of(*ops, outputs=None, target="phone"):
    made = [output for op in ops for output in op.outputs]
    names = {id(t) for t in made}
    inputs = list({id(t): t for op in ops for t in op.inputs if id(t) not in names}.values())
    return FrozenGraph("model", target, inputs, outputs or [made[-1]], list(ops))


def emitted_version(op, target="phone"):
    model = flatbuffer.parse(emit(graph_of(op), target=target))
    (code,) = model.operatorCodes
    return code.version


def binary(kind, first=0.5, second=0.5, output=0.5, **fields):
    operands = [tensor("a", scale=first), tensor("b", scale=second)]
    return Operator(kind, "layer", operands, [tensor("y", scale=output)], **fields)


def unary(kind, source=0.5, output=0.5, zero_point=3, **fields):
    x, y = tensor("x", scale=source), tensor("y", scale=output, zero_point=zero_point)
    return Operator(kind, "layer", [x], [y], **fields)


def resize(kind, **options):
    y = tensor("y", (8, 12, 8))
    return Operator(kind, "layer", [tensor("x")], [y], options=options)


def of_rank_5(kind, **fields):
    shape = (2, *SHAPE)
    return Operator(kind, "layer", [tensor("x", shape)], [tensor("y", shape)], **fields)


def grouped(groups):
    weights = Weights(np.ones((1, 1, 8 // groups, 4), np.int8), np.ones(4, np.float32), 8, None)
    options = {"strides": (1, 1), "dilation": (1, 1), "padding": "SAME"}
    return Operator(
        "CONV_2D", "layer", [tensor("x")], [tensor("y", (4, 6, 4))], weights, "NONE", options
    )


@pytest.mark.parametrize(
    ("op", "version"),
    [
        (binary("MUL", output=0.3), 2),
        # From a product of scales as large as the result's on, an older runtime overflows.
        (binary("MUL", output=0.25), 3),
        (binary("MUL", output=0.2), 3),
        (binary("SUB"), 2),
        (resize("RESIZE_BILINEAR"), 2),
        (resize("RESIZE_BILINEAR", align_corners=True), 2),
        (resize("RESIZE_BILINEAR", half_pixel_centers=True), 3),
        (resize("RESIZE_NEAREST_NEIGHBOR"), 2),
        (resize("RESIZE_NEAREST_NEIGHBOR", align_corners=True), 3),
        (grouped(1), 3),
        (grouped(2), 6),
        (unary("QUANTIZE", output=0.4), 1),
        (of_rank_5("SUB", constants={1: Constant.of(0.5)}), 3),
        (of_rank_5("PAD", options={"paddings": [(0, 0)] * 4}), 4),
        (of_rank_5("SLICE", options={"begin": [0] * 4}), 5),
        (of_rank_5("TRANSPOSE", options={"permutation": (0, 1, 2, 3, 4)}), 4),
    ],
)
def test_oldest_version(op, version):
    assert emitted_version(op) == version


def test_every_version_that_is_written_has_a_release():
    for kind, versions in operator_versions.WRITTEN.items():
        assert all(runtimes.first_release(kind, version) for version in versions), kind


def test_every_encoder_is_in_a_table():
    assert set(operators.ENCODERS) == set(targets.get("phone").operators)
    assert set(operators.ENCODERS) == set(operator_versions.WRITTEN)
    for target in targets.TARGETS.values():
        for kind, highest in target.operators.items():
            assert min(operator_versions.WRITTEN[kind]) <= highest, (target.name, kind)


def test_edgetpu_takes_what_its_compiler_maps(shared):
    """And no version that came after the runtime which the compiler belongs to."""
    known = json.loads((shared / "reference" / "edgetpu" / "ops.json").read_text())
    # ARG_MAX stays on the CPU, behind all that is mapped.
    taken = {k: v for k, v in targets.get("edgetpu").operators.items() if k != "ARG_MAX"}
    assert set(taken) <= set(known["mapped"])
    assert set(taken) == set(known["mapped"]) & set(operators.ENCODERS)
    for kind, version in taken.items():
        assert version <= runtimes.versions_in("2.5.0")[kind], kind


@pytest.mark.parametrize("kind", ["HARD_SWISH", "GELU", "LEAKY_RELU", "BATCH_MATMUL", "ELU"])
def test_edgetpu_refuses_what_would_stay_on_the_cpu(kind):
    if kind == "BATCH_MATMUL":
        op = binary(kind)
    else:
        op = unary(kind, options={"alpha": 0.1} if kind == "LEAKY_RELU" else {})
    with pytest.raises(ConversionError, match=f"'layer'.*'edgetpu' does not take {kind}"):
        emit(graph_of(op, target="edgetpu"))


@pytest.mark.parametrize(
    "op",
    [
        binary("ADD", first=0.5 * 300),
        binary("SUB", second=0.5 * 300),
        binary("MUL", output=0.25 / 300),
        binary("BATCH_MATMUL", output=0.25 / 300),
        unary("QUANTIZE", source=0.5 / 300),
        unary("QUANTIZE", source=0.5 * 200),
        unary("HARD_SWISH", source=0.5 * 130),
        unary("HARD_SWISH", source=0.5 / 1000),
    ],
    ids=lambda op: op.kind,
)
def test_ratio_of_scales_that_another_kernel_takes(op):
    with pytest.raises(ConversionError, match=f"'layer' .{op.kind}.*calibrate"):
        emit(graph_of(op))


@pytest.mark.parametrize("kind", ["RSQRT", "SQRT"])
def test_roots_of_what_can_be_negative(kind):
    """LiteRT would end with an error on the first such image."""
    with pytest.raises(ConversionError, match=f"'layer': {kind} of a tensor that can be negative"):
        emit(graph_of(unary(kind)))


@pytest.mark.parametrize("kind", ["MAXIMUM", "MINIMUM", "CONCATENATION"])
def test_kernels_that_compare_or_copy_integers_want_one_grid(kind):
    """LiteRT takes the larger integer without a look at the scales."""
    op = binary(kind, second=0.4, options={"axis": 3})
    with pytest.raises(ConversionError, match=f"'layer': {kind}.*share"):
        emit(graph_of(op))
    op = unary("MAXIMUM", constants={1: Constant.of(0.1)})
    with pytest.raises(ConversionError, match="'layer': MAXIMUM.*share"):
        emit(graph_of(op))


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_grid_that_the_kernel_forces(kind):
    with pytest.raises(ConversionError, match=f"'layer': {kind} gives scale"):
        emit(graph_of(unary(kind)))


@pytest.mark.parametrize("kind", ["MUL", "AVERAGE_POOL_2D"])
def test_fused_activation(kind):
    options = {"pool_size": (1, 1), "strides": (1, 1), "padding": "VALID"}
    op = unary(kind, activation="RELU", options=options)
    if kind == "MUL":
        op.constants = {1: Constant.of(0.5)}
        emit(graph_of(op))
    else:
        with pytest.raises(ConversionError, match="'layer': AVERAGE_POOL_2D cannot hold RELU"):
            emit(graph_of(op))


@pytest.mark.parametrize(
    "constant",
    [Constant(np.ones(8, np.int32), np.float32(1)), Constant(np.ones(8, np.int8), np.nan)],
)
def test_constant_that_is_none(constant):
    with pytest.raises(ConversionError, match="'layer' .ADD.: a constant"):
        emit(graph_of(unary("ADD", constants={1: constant})))


def test_transposed_convolution_with_gaps():
    weights = Weights(np.ones((2, 2, 4, 8), np.int8), np.ones(4, np.float32), 8, None)
    y = tensor("y", (12, 18, 4))
    options = {"strides": (3, 3), "padding": "SAME"}
    op = Operator("TRANSPOSE_CONV", "layer", [tensor("x")], [y], weights, options=options)
    with pytest.raises(ConversionError, match="'layer'.*valid"):
        emit(graph_of(op))


def test_constants_of_one_value_and_two_zero_points_are_two():
    """What is stored once must mean the same."""
    x, y, z = tensor("x"), tensor("y"), tensor("z")
    ones = np.ones(8, np.int8)
    first = Constant(ones, np.float32(0.5), 0)
    second = Constant(ones, np.float32(0.5), 11)
    graph = graph_of(
        Operator("ADD", "first", [x], [y], constants={1: first}),
        Operator("ADD", "second", [y], [z], constants={1: second}),
    )
    codes = np.full((1, *SHAPE), 40, np.int8)
    # Equal scales: integers add up.
    np.testing.assert_array_equal(Interpreter(emit(graph)).run(codes)[0], codes + 1 - 10)


def a_requantized_branch():
    x, y, z = tensor("x"), tensor("y", scale=0.4, zero_point=-7), tensor("z", scale=0.3)
    u = tensor("u")
    return graph_of(
        Operator("ADD", "before", [x], [u], constants={1: Constant.of(1.0)}),
        Operator("QUANTIZE", "inside", [u], [y]),
        Operator("ADD", "after", [y, y], [z]),
    )


def test_requantization_inside_a_file():
    graph = a_requantized_branch()
    model = flatbuffer.parse(emit(graph))
    conversion.require_allowed(model, targets.get("phone"), "int8")


@pytest.mark.parametrize("kind", ["QUANTIZE", "DEQUANTIZE"])
def test_no_other_change_of_type_inside_a_file(kind):
    model = flatbuffer.parse(emit(a_requantized_branch()))
    phone = targets.get("phone")
    target = dataclasses.replace(phone, operators={**phone.operators, "DEQUANTIZE": 2})
    op = model.subgraphs[0].operators[1]
    if kind == "DEQUANTIZE":
        code = model.operatorCodes[op.opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    else:
        model.subgraphs[0].tensors[op.outputs[0]].type = schema.TensorType.INT32
    with pytest.raises(ConversionError, match=f"'y' comes from a {kind} inside"):
        conversion.require_allowed(model, target, "int8")
