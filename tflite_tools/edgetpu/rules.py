"""What Edge TPU compiler 16.0 takes, as one table: operators, and up to what each is mapped.

Sources: "TensorFlow models on the Edge TPU" and "Edge TPU Compiler" at coral.ai, and what public
compiled files and logs of the compiler show. Where they are in doubt the table says CPU: TILE, for
one, is mapped in one of Coral's files (from one pixel to 33×33) and documented nowhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tflite_tools import runtimes
from tflite_tools.edgetpu import limits
from tflite_tools.edgetpu.operations import Operand, Operation

#: Name of the operator that stands for everything mapped, in a compiled file.
CUSTOM_OPERATOR = "edgetpu-custom-op"

#: Newest TFLite release whose operator versions the compiler takes.
NEWEST_RELEASE = "2.5.0"

#: How many of a tensor's last dimensions may be larger than 1.
DIMENSIONS = 3


@dataclasses.dataclass(frozen=True)
class Obstacle:
    """Why an operator stays on the CPU.

    Attributes:
        kind: What is in the way: "operator", "version", "type", "rank", "limit"; or
            "dynamic", for the whole file.
        reason: For people.
        advice: What to change.
    """

    kind: str
    reason: str
    advice: str


_EIGHT_BITS = (
    "quantize weights and activations to 8 bits, inputs and outputs of the model included "
    "(mobilequant.quantize(model, 'w8a8', target='edgetpu'))"
)

#: Operands that say how large an operator's output is, by their places.
SIZE_OPERANDS = {
    "BROADCAST_TO": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
}

#: What to use instead of operators that the compiler does not map.
_INSTEAD = {
    "ARG_MAX": "leave it last in the model, or find the largest class in the app",
    "BATCH_MATMUL": "choose a model without attention (MobileNetV4 Conv instead of Hybrid)",
    "CAST": "give the model int8 or uint8 inputs, and make casts in the app",
    "DEQUANTIZE": "give the model int8 or uint8 outputs, and dequantize in the app",
    "DIV": "multiply by the inverse where it is constant",
    "ELU": "use RELU or RELU6",
    "GELU": "use RELU or RELU6",
    "HARD_SWISH": "quantize with mobilequant (x·RELU6(x + 3)/6 as ADD and MUL), or use RELU6",
    "LEAKY_RELU": "use RELU, or PRELU with shared slopes",
    "SPACE_TO_BATCH_ND": "write dilated convolutions as such (mobilequant does)",
    "TFLite_Detection_PostProcess": "nothing: it is made for the CPU, behind all that is mapped",
    "TILE": "let ADD and MUL broadcast instead",
}


def obstacle(op: Operation) -> Obstacle | None:
    """What keeps an operator off the Edge TPU by itself; None where nothing does."""
    if op.kind not in OPERATORS:
        return Obstacle("operator", f"{op.kind} is not supported", _instead(op))
    for find in (_version, _types, _dimensions):
        found = find(op)
        if found is not None:
            return found
    for limit in OPERATORS[op.kind]:
        found = limit(op)
        if found is not None:
            return Obstacle("limit", *found)
    return None


def dynamic(op: Operation) -> Obstacle | None:
    """What makes the compiler refuse a whole file: a size that is known only while it runs."""
    for place in SIZE_OPERANDS.get(op.kind, ()):
        operand = op.operand(place)
        if operand is not None and not operand.constant:
            return _unknown(f"it computes its size while it runs (from {operand.label})")
    for operand in op.activations if op.builtin else ():  # custom ones know their sizes themselves
        if not operand.fixed:
            return _unknown(f"{operand.label} has no fixed size ({limits.size(operand)})")
    return None


def _unknown(what: str) -> Obstacle:
    return Obstacle("dynamic", f"{what}: the compiler refuses the file", limits.FIXED_SHAPES)


def _instead(op: Operation) -> str:
    if op.kind in _INSTEAD:
        return _INSTEAD[op.kind]
    if not op.builtin:
        return "keep custom operators behind all that is mapped: they run on the CPU"
    return f"replace what becomes {op.kind}, or move it behind all that is mapped"


def _version(op: Operation) -> Obstacle | None:
    release = runtimes.first_release(op.kind, op.version)
    newest = runtimes.release_number(NEWEST_RELEASE)
    if release is not None and runtimes.release_number(release) <= newest:
        return None
    since = f"needs TFLite {release}" if release else "is unknown"
    return Obstacle(
        "version",
        f"{op.kind} version {op.version} {since}; the compiler takes what {NEWEST_RELEASE} runs",
        "convert with mobilequant and target 'edgetpu', or with TensorFlow 2.5 or older",
    )


#: Operators that have states and 16-bit integers inside.
_RECURRENT = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")


def _types(op: Operation) -> Obstacle | None:
    for place, operand in enumerate(op.inputs):
        if operand is not None and not _accepted(op, operand):
            return _unquantized(operand, f"input {place}")
    for place, operand in enumerate(op.outputs):
        if not operand.quantized:
            return _unquantized(operand, f"output {place}")
    return None


def _accepted(op: Operation, operand: Operand) -> bool:
    if operand.variable and op.kind in _RECURRENT:
        return operand.dtype in ("INT8", "INT16")
    if operand.constant and operand.dtype == "INT32":
        return True  # a bias, or a shape, an axis, a size
    return operand.quantized


def _unquantized(operand: Operand, place: str) -> Obstacle:
    what = operand.dtype.lower()
    if operand.dtype in ("INT8", "UINT8"):
        what += " without a scale"
    advice = limits.FIXED_SHAPES if operand.dtype in ("INT32", "INT64") else _EIGHT_BITS
    reason = f"{place} ({operand.label}) is {what}; only quantized int8 and uint8 are taken"
    return Obstacle("type", reason, advice)


def _dimensions(op: Operation) -> Obstacle | None:
    for operand in op.activations:
        if any(n > 1 for n in (operand.shape or ())[:-DIMENSIONS]):
            return Obstacle(
                "rank",
                f"a tensor of {limits.size(operand)}: "
                f"dimensions before the last {DIMENSIONS} must be 1",
                "use a batch of 1 and tensors of at most 3 dimensions beside it",
            )
    return None


_CONVOLUTION = (limits.constant_parameters, limits.equal_dilation)
_POOL = (limits.no_activation,)
_REDUCTION = (limits.not_over_batch,)
_RESIZE = (limits.precise_enough,)

#: Limits of every operator that the compiler maps.
OPERATORS: Mapping[str, tuple[limits.Limit, ...]] = {
    "ADD": (),
    "AVERAGE_POOL_2D": _POOL,
    "CONCATENATION": (limits.no_activation, limits.zero_constant),
    "CONV_2D": _CONVOLUTION,
    "DEPTHWISE_CONV_2D": _CONVOLUTION,
    "EXPAND_DIMS": (),
    "FULLY_CONNECTED": (
        limits.constant_parameters,
        limits.default_format,
        limits.one_scale,
        limits.one_dimensional,
    ),
    "L2_NORMALIZATION": (),
    "LOGISTIC": (),
    "LSTM": (limits.constant_parameters,),
    "MAXIMUM": (),
    "MAX_POOL_2D": _POOL,
    "MEAN": (*_REDUCTION, limits.whole_fours),
    "MINIMUM": (),
    "MUL": (),
    "PACK": (limits.not_along_batch,),
    "PAD": (limits.no_batch_padding,),
    "PRELU": (limits.constant_parameters, limits.one_slope_a_channel),
    "QUANTIZE": (),
    "REDUCE_MAX": _REDUCTION,
    "REDUCE_MIN": _REDUCTION,
    "RELU": (),
    "RELU6": (),
    "RELU_N1_TO_1": (),
    "RESHAPE": (),
    "RESIZE_BILINEAR": _RESIZE,
    "RESIZE_NEAREST_NEIGHBOR": _RESIZE,
    "RSQRT": (),
    "SLICE": (),
    "SOFTMAX": (limits.one_dimensional, limits.softmax_size),
    "SPACE_TO_DEPTH": (),
    "SPLIT": (limits.split_axis,),
    "SQUARED_DIFFERENCE": (),
    "SQUEEZE": (limits.leading_ones,),
    "STRIDED_SLICE": (limits.unit_strides,),
    "SUB": (),
    "SUM": _REDUCTION,
    "TANH": (),
    "TRANSPOSE": (),
    "TRANSPOSE_CONV": (limits.constant_parameters,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (limits.constant_parameters,),
}
