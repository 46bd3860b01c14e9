"""Single operators against the rules: what is mapped, what is not, and what is said of it."""

import json
import re

import pytest
from small_files import SmallFile, options

from mobilequant import targets
from tflite_tools import runtimes
from tflite_tools.edgetpu import rules


def decide(build, image=(1, 8, 8, 4), dtype="INT8"):
    """The decision on the one operator that `build(file, image)` adds."""
    file = SmallFile()
    build(file, file.input(*image, dtype=dtype, scales=None))
    (decision,) = file.plan().decisions
    return decision


def unary(kind, output=(1, 8, 8, 4), version=1, operands=(), opts=None, dtype="INT8"):
    """A builder of an operator with one input and constant int32 vectors beside it."""

    def build(file, image):
        constants = [file.integers(*values) for values in operands]
        out = file.tensor(*output, dtype=dtype)
        file.op(kind, [image, *constants], out, version=version, options=opts)

    return build


def weighted(kind, weights, output, scales=1, dtype="INT8", opts=None, constant=True, version=1):
    def build(file, image):
        if constant:
            kernel = file.tensor(*weights, scales=scales, dtype=dtype, values=1)
        else:
            kernel = file.input(*weights)
        bias = file.tensor(weights[0], dtype="INT32", scales=1, values=0)
        out = file.tensor(*output)
        file.op(kind, [image, kernel, bias], out, options=opts, version=version)

    return build


def binary(kind, constant_value=None, other=(1, 8, 8, 4), output=(1, 8, 8, 8), opts=None):
    def build(file, image):
        values = constant_value
        second = file.tensor(*other, values=values) if values is not None else image
        file.op(kind, [image, second], file.tensor(*output), options=opts)

    return build


MAPPED = {
    "convolution": weighted("CONV_2D", (8, 3, 3, 4), (1, 8, 8, 8), scales=8, version=3),
    "convolution of uint8": weighted("CONV_2D", (8, 3, 3, 4), (1, 8, 8, 8), dtype="UINT8"),
    "relu": unary("RELU"),
    "int8 to uint8": unary("QUANTIZE", dtype="UINT8"),
    "mean of an image": unary("MEAN", (1, 4), operands=[(1, 2)], version=2),
    "mean of 4 channels": unary("MEAN", (1, 8, 8, 1), operands=[(-1,)]),
    "padding": unary("PAD", (1, 10, 10, 4), operands=[(0, 0, 1, 1, 1, 1, 0, 0)]),
    "twice as large": unary("RESIZE_BILINEAR", (1, 16, 16, 4), operands=[(16, 16)], version=3),
    "4 times": unary("RESIZE_NEAREST_NEIGHBOR", (1, 32, 32, 4), operands=[(32, 32)]),
    "smaller": unary("RESIZE_BILINEAR", (1, 3, 3, 4), operands=[(3, 3)]),
    "flattened": unary("RESHAPE", (1, 256), operands=[(1, 256)]),
    "pooling": unary("MAX_POOL_2D", (1, 4, 4, 4), opts=options("Pool2D")),
    "same twice": binary("CONCATENATION"),
    "zero channels": binary("CONCATENATION", constant_value=0),
    "unit steps": unary("STRIDED_SLICE", (1, 4, 8, 4), operands=[(0,) * 4, (1, 4, 8, 4), (1,) * 4]),
    "a product with a constant": binary("MUL", 3, other=(4,), output=(1, 8, 8, 4)),
}


@pytest.mark.parametrize("case", MAPPED)
def test_mapped(case):
    decision = decide(MAPPED[case])
    assert decision.mapped and decision.reason == "" and decision.behind is None, decision


STAYS = {
    "hard swish": (unary("HARD_SWISH"), "operator", "HARD_SWISH is not supported"),
    "custom": (unary("MyOp"), "operator", "MyOp is not supported"),
    "new version": (
        weighted("CONV_2D", (8, 3, 3, 4), (1, 8, 8, 8), version=6),
        "version",
        "version 6 needs TFLite 2.9.0; the compiler takes what 2.5.0 runs",
    ),
    "unknown version": (unary("RELU6", version=99), "version", "version 99 is unknown"),
    "float output": (unary("RELU", dtype="FLOAT32"), "type", "output 0 .* is float32"),
    "no scale": (
        lambda f, x: f.op("RELU", [x], f.tensor(1, 8, 8, 4, scales=0)),
        "type",
        "int8 without a scale",
    ),
    "computed operand": (
        lambda f, x: f.op("ADD", [x, f.input(1, dtype="INT32")], f.tensor(1, 8, 8, 4)),
        "type",
        "is int32; only quantized",
    ),
    "computed shape": (
        lambda f, x: f.op("RESHAPE", [x, f.input(2, dtype="INT32", name="n")], f.tensor(1, 256)),
        "dynamic",
        "its size while it runs .from 'n'.: the compiler refuses the file",
    ),
    "unknown size": (
        lambda f, x: f.op("RELU", [x], f.tensor(-1, 8, 8, 4, name="y")),
        "dynamic",
        "'y' has no fixed size .[?]×8×8×4.",
    ),
    "batch": (
        lambda f, x: f.op("RELU", [x], f.tensor(2, 8, 8, 4)),
        "rank",
        "2×8×8×4: dimensions before the last 3 must be 1",
    ),
    "computed weights": (
        weighted("DEPTHWISE_CONV_2D", (1, 3, 3, 4), (1, 8, 8, 4), constant=False),
        "limit",
        "computed while the model runs",
    ),
    "dilation": (
        weighted(
            "CONV_2D",
            (8, 3, 3, 4),
            (1, 8, 8, 8),
            opts=options("Conv2D", dilationWFactor=2, dilationHFactor=1),
        ),
        "limit",
        "dilation is 1×2",
    ),
    "scales of a dense layer": (
        weighted("FULLY_CONNECTED", (10, 256), (1, 10), scales=10, version=4),
        "limit",
        "10 scales",
    ),
    "dense of a map": (
        weighted("FULLY_CONNECTED", (10, 4), (1, 8, 8, 10), version=4),
        "limit",
        "1×8×8×10: all dimensions but the last must be 1",
    ),
    "shuffled weights": (
        weighted(
            "FULLY_CONNECTED", (10, 256), (1, 10), opts=options("FullyConnected", weightsFormat=1)
        ),
        "limit",
        "shuffled",
    ),
    "activation of a pooling": (
        unary("AVERAGE_POOL_2D", (1, 1, 1, 4), opts=options("Pool2D", fusedActivationFunction=3)),
        "limit",
        "fused activation",
    ),
    "constant channels": (binary("CONCATENATION", 5), "limit", "not all zero"),
    "mean of the batch": (unary("MEAN", (8, 8, 4), operands=[(0,)]), "limit", "the batch"),
    "sum of the batch": (unary("SUM", (8, 8, 4), operands=[(-4,)]), "limit", "the batch"),
    "padded batch": (
        unary("PAD", (1, 8, 8, 4), operands=[(1, 0, 0, 0, 0, 0, 0, 0)]),
        "limit",
        "pads the batch",
    ),
    "steps": (
        unary("STRIDED_SLICE", (1, 4, 4, 4), operands=[(0,) * 4, (1, 8, 8, 4), (1, 2, 2, 1)]),
        "limit",
        "1×2×2×1; all must be 1",
    ),
    "8 times": (
        unary("RESIZE_BILINEAR", (1, 64, 64, 4), operands=[(64, 64)]),
        "limit",
        "at most 4 times",
    ),
    "softmax of a map": (unary("SOFTMAX"), "limit", "all dimensions but the last must be 1"),
    "squeezed behind": (unary("SQUEEZE", (1, 8, 32)), "limit", "leading dimensions"),
    "ARG_MAX": (unary("ARG_MAX", (1, 8, 8), dtype="INT32"), "operator", "ARG_MAX"),
}


@pytest.mark.parametrize("case", STAYS)
def test_stays_on_the_cpu(case):
    build, kind, reason = STAYS[case]
    decision = decide(build)
    assert decision.kind == kind
    assert decision.advice
    assert re.search(reason, decision.reason), decision.reason


@pytest.mark.parametrize(
    ("size", "channels", "mapped"), [(64, 32, True), (64, 33, False), (256, 32, False)]
)
def test_sizes_of_resizes(size, channels, mapped):
    """Twice to 128×128×32 is known to be mapped, to 512×512×32 to stay."""
    output = (1, 2 * size, 2 * size, channels)
    build = unary("RESIZE_BILINEAR", output, operands=[(2 * size, 2 * size)])
    decision = decide(build, image=(1, size, size, channels))
    assert decision.mapped == mapped


def test_a_resize_that_changes_nothing_is_mapped_at_any_size():
    image = (1, 513, 513, 21)
    assert decide(unary("RESIZE_BILINEAR", image, operands=[(513, 513)]), image=image).mapped


@pytest.mark.parametrize(("classes", "mapped"), [(16000, True), (16001, False)])
def test_size_of_a_softmax(classes, mapped):
    assert decide(unary("SOFTMAX", (1, classes)), image=(1, classes)).mapped == mapped


@pytest.mark.parametrize(("channels", "mapped"), [(8, True), (6, False)])
def test_mean_of_channels(channels, mapped):
    build = unary("MEAN", (1, 8, 8), operands=[(3,)])
    assert decide(build, image=(1, 8, 8, channels)).mapped == mapped


def test_the_table_is_that_of_the_documentation(shared):
    facts = json.loads((shared / "reference/edgetpu/ops.json").read_text())
    assert set(rules.OPERATORS) == set(facts["mapped"])
    assert not set(rules.OPERATORS) & set(facts["known_not_mapped"])


def test_files_for_the_target_hold_what_the_compiler_maps():
    target = targets.get("edgetpu")
    # On the CPU, behind all that is mapped.
    assert set(target.operators) - set(rules.OPERATORS) == {"ARG_MAX"}
    newest = runtimes.versions_in(rules.NEWEST_RELEASE)
    assert all(version <= newest[kind] for kind, version in target.operators.items())
