"""What each device demands: one table, read when a model is quantized and when it is converted.

A target is data. `quantize` reads its granularity and lowerings, `tflite_tools` its operators,
versions and interfaces, so that both always speak of the same device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Target:
    """One kind of device.

    Attributes:
        name: How `quantize(target=...)` and `convert` name it.
        description: One line for people.
        interfaces: Types that a file's inputs and outputs may have, the default first.
        operators: Highest version of each builtin operator that the device's runtime takes; an
            operator that is not listed is not allowed in a file for this target.
        dense_granularity: "tensor" or "channel": how many scales FULLY_CONNECTED weights have.
        convolution_granularity: The same for convolutions.
        max_steps: How far the file's integers may lie from Keras' inference, in quantization
            steps, by kind of the operator that computes them; "default" for all others.
        float_operators: Whether float operators may stand between the integer ones, in a file
            that is asked for as a mixed one.
        accelerator: Who runs what it can of a file, beside the CPU; `tflite_tools` says what that
            is. None where there is the CPU alone.
        postprocessing: Highest version of each operator that may follow on the integer outputs of
            a file, in float and on the CPU: what decodes boxes, for example.
        known_differences: Operators that other processors of this kind round differently than
            the CPU path that we test (XNNPACK on x86-64).
    """

    name: str
    description: str
    interfaces: tuple[str, ...]
    operators: Mapping[str, int]
    dense_granularity: str = "tensor"
    convolution_granularity: str = "channel"
    max_steps: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {"default": 0, "SOFTMAX": 1}
    )
    float_operators: bool = False
    accelerator: str | None = None
    postprocessing: Mapping[str, int] = dataclasses.field(default_factory=dict)
    known_differences: Mapping[str, str] = dataclasses.field(default_factory=dict)


_MEAN_NOTE = "sums in another order on some processors (not measured here)"
_SOFTMAX_NOTE = "its exponential table differs from one library of mathematics to another"
_RESIZE_NOTE = "processors without XNNPACK's kernel interpolate otherwise, by up to 15 steps"

_KNOWN_DIFFERENCES = {
    "MEAN": _MEAN_NOTE,
    "RESIZE_BILINEAR": _RESIZE_NOTE,
    "SOFTMAX": _SOFTMAX_NOTE,
}

#: What ends the file of a detector.
_DETECTION = {"DEQUANTIZE": 2, "LOGISTIC": 1, "SOFTMAX": 1, "TFLite_Detection_PostProcess": 1}

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="phone",
            description="Android and iOS CPUs through LiteRT (XNNPACK), int8 inside",
            interfaces=("int8", "uint8"),
            operators={
                "ABS": 2,
                "ADD": 2,
                "ARG_MAX": 2,
                "AVERAGE_POOL_2D": 2,
                "BATCH_MATMUL": 2,
                "CONCATENATION": 2,
                "CONV_2D": 6,
                "DEPTHWISE_CONV_2D": 3,
                "DEPTH_TO_SPACE": 1,
                "DEQUANTIZE": 2,
                "ELU": 1,
                "EXP": 2,
                "FULLY_CONNECTED": 5,
                "GELU": 2,
                "HARD_SWISH": 1,
                "LEAKY_RELU": 1,
                "LOG": 2,
                "LOGISTIC": 2,
                "MAXIMUM": 3,
                "MAX_POOL_2D": 2,
                "MEAN": 2,
                "MINIMUM": 3,
                "MUL": 3,
                "PAD": 4,
                "PRELU": 1,
                "QUANTIZE": 1,
                "REDUCE_MAX": 2,
                "REDUCE_MIN": 2,
                "RELU": 2,
                "RELU6": 2,
                "RELU_N1_TO_1": 1,
                "RESHAPE": 1,
                "RESIZE_BILINEAR": 3,
                "RESIZE_NEAREST_NEIGHBOR": 3,
                "RSQRT": 2,
                "SLICE": 5,
                "SOFTMAX": 2,
                "SPACE_TO_DEPTH": 2,
                "SQRT": 2,
                "STRIDED_SLICE": 4,
                "SUB": 3,
                "TANH": 2,
                "TRANSPOSE": 4,
                "TRANSPOSE_CONV": 3,
            },
            float_operators=True,
            postprocessing=_DETECTION,
            known_differences=_KNOWN_DIFFERENCES,
        ),
        Target(
            name="edgetpu",
            description="Coral Edge TPU, compiler 16.0, runtime 2.5 and older",
            interfaces=("int8", "uint8"),
            operators={
                "ADD": 2,
                # On the CPU, behind all that is mapped.
                "ARG_MAX": 2,
                "AVERAGE_POOL_2D": 2,
                "CONCATENATION": 2,
                "CONV_2D": 3,
                "DEPTHWISE_CONV_2D": 3,
                "FULLY_CONNECTED": 5,
                "LOGISTIC": 2,
                "MAXIMUM": 3,
                "MAX_POOL_2D": 2,
                "MEAN": 2,
                "MINIMUM": 3,
                "MUL": 3,
                "PAD": 2,
                "PRELU": 1,
                "QUANTIZE": 1,
                "REDUCE_MAX": 2,
                "REDUCE_MIN": 2,
                "RELU": 2,
                "RELU6": 2,
                "RELU_N1_TO_1": 1,
                "RESHAPE": 1,
                "RESIZE_BILINEAR": 3,
                "RESIZE_NEAREST_NEIGHBOR": 3,
                "RSQRT": 2,
                "SLICE": 5,
                "SOFTMAX": 2,
                "SPACE_TO_DEPTH": 2,
                "STRIDED_SLICE": 4,
                "SUB": 3,
                "TANH": 2,
                "TRANSPOSE": 4,
                "TRANSPOSE_CONV": 3,
            },
            accelerator="edgetpu",
            postprocessing=_DETECTION,
            known_differences=_KNOWN_DIFFERENCES,
        ),
    )
}


def get(name: str | Target) -> Target:
    """Returns the target of that name.

    Args:
        name: A key of `TARGETS`, or a `Target`, which is returned as it is.

    Raises:
        ValueError: There is no such target; the message lists those that exist.
    """
    if isinstance(name, Target):
        return name
    try:
        return TARGETS[name]
    except (KeyError, TypeError):
        known = ", ".join(repr(key) for key in TARGETS)
        raise ValueError(f"Unknown target {name!r}; the targets are {known}.") from None
