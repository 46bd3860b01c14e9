"""What each device demands: one table, read when a model is quantized and when it is converted.

A target is data. `quantize` reads its granularity and lowerings, `tflite_tools` its operators,
versions and interfaces, so that both always speak of the same device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mobilequant import operator_versions


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
        family: Targets of one family quantize a model alike: what was quantized for one of them
            can be converted for another, which may still refuse an operator or its version.
        runtime: The oldest TFLite release that its files must run in; None for LiteRT's current
            one.
        packs_int4: Whether weights of 4 bits and less become INT4, two to a byte.
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
    family: str = "phone"
    runtime: str | None = None
    packs_int4: bool = False


_MEAN_NOTE = "sums in another order on some processors (not measured here)"
_QUANTIZE_NOTE = "one step at times between int8 scales where MediaPipe 1.2 runs the file"
_SOFTMAX_NOTE = "its exponential table differs from one library of mathematics to another"
_RESIZE_NOTE = "processors without XNNPACK's kernel interpolate otherwise, by up to 15 steps"

_KNOWN_DIFFERENCES = {
    "MEAN": _MEAN_NOTE,
    "QUANTIZE": _QUANTIZE_NOTE,
    "RESIZE_BILINEAR": _RESIZE_NOTE,
    "SOFTMAX": _SOFTMAX_NOTE,
}

_BUILTIN_NOTE = "one step at times where an older runtime computes int8 outside XNNPACK"

#: Measured from equal inputs in tflite-runtime 2.14, which runs int8 on its built-in kernels unless
#: the app switches XNNPACK's on; with these on, all integers are equal but BATCH_MATMUL's.
_LEGACY_DIFFERENCES = {
    **_KNOWN_DIFFERENCES,
    **dict.fromkeys(
        ("ADD", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "MUL", "QUANTIZE", "SUB"),
        _BUILTIN_NOTE,
    ),
}

#: What ends the file of a detector.
_DETECTION = {"DEQUANTIZE": 2, "LOGISTIC": 1, "SOFTMAX": 1, "TFLite_Detection_PostProcess": 1}

#: FULLY_CONNECTED with a scale for each channel (version 12) is for `phone-int4` alone.
_PHONE_OPERATORS = {**operator_versions.highest(), "FULLY_CONNECTED": 5}

#: What "phone-legacy" stands for: the last release of the package `tflite-runtime`.
_LEGACY_RELEASE = "2.14"

_PHONE = Target(
    name="phone",
    description="Android and iOS CPUs through LiteRT (XNNPACK), int8 inside",
    interfaces=("int8", "uint8"),
    operators=_PHONE_OPERATORS,
    float_operators=True,
    postprocessing=_DETECTION,
    known_differences=_KNOWN_DIFFERENCES,
)


def legacy(release: str = _LEGACY_RELEASE) -> Target:
    """The target of phones whose apps carry an older TFLite.

    `get("phone-2.9")` gives the same by name.

    Args:
        release: The oldest that must run the file, such as "2.14" or "2.9.0".

    Raises:
        ValueError: It is no release, one that does not run int8 files, or a newer one than is
            known.
    """
    runs = operator_versions.highest(release)
    return dataclasses.replace(
        _PHONE,
        name=f"phone-{release}",
        description=f"the same with TFLite {release} or newer",
        operators={
            kind: min(v, runs[kind]) for kind, v in _PHONE.operators.items() if kind in runs
        },
        known_differences=_LEGACY_DIFFERENCES,
        runtime=release,
    )


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        _PHONE,
        dataclasses.replace(legacy(), name="phone-legacy"),
        dataclasses.replace(
            _PHONE,
            name="phone-int4",
            description="the same, weights of 4 bits and less two to a byte (LiteRT 2)",
            operators={**_PHONE_OPERATORS, "FULLY_CONNECTED": 12},
            packs_int4=True,
        ),
        Target(
            name="edgetpu",
            family="edgetpu",
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
        name: A key of `TARGETS`; "phone-2.9" with any TFLite release, see `legacy`; or a `Target`,
            which is returned as it is.

    Raises:
        ValueError: There is no such target; the message lists those that exist.
    """
    if isinstance(name, Target):
        return name
    if isinstance(name, str):
        if name in TARGETS:
            return TARGETS[name]
        release = name.removeprefix("phone-")
        if release != name and release[:1].isdigit():
            return legacy(release)
    known = ", ".join(repr(key) for key in TARGETS)
    raise ValueError(
        f"Unknown target {name!r}; the targets are {known}, and 'phone-2.9' with the number of any "
        "TFLite release."
    )
