"""The versions of each builtin operator that our files hold, and the TFLite release each came with.

A release is that of `tensorflow` or `tflite-runtime`; LiteRT counts on from there. These are the
few that `tflite_tools` writes; its own table, of all that exist, is `tflite_tools.runtimes`, and a
test holds the two together.
"""

from __future__ import annotations

import re

#: By operator: version, and the first release that runs it.
FIRST_RELEASES: dict[str, dict[int, str]] = {
    "ABS": {2: "2.4.0"},
    "ADD": {2: "1.14.0"},
    "ARG_MAX": {2: "1.14.0"},
    "AVERAGE_POOL_2D": {2: "1.14.0"},
    "BATCH_MATMUL": {2: "2.3.0"},
    "CONCATENATION": {2: "1.14.0"},
    "CONV_2D": {3: "1.14.0", 6: "2.9.0"},
    "DEPTHWISE_CONV_2D": {3: "1.14.0"},
    "DEPTH_TO_SPACE": {1: "2.1.0"},
    "DEQUANTIZE": {2: "1.14.0"},
    "ELU": {1: "1.14.0"},
    "EXP": {2: "2.12.0"},
    "FULLY_CONNECTED": {4: "1.14.0", 5: "2.0.0", 12: "2.17.0"},
    "GELU": {2: "2.9.0"},
    "HARD_SWISH": {1: "1.15.0"},
    "LEAKY_RELU": {1: "1.13.1"},
    "LOG": {2: "2.15.0"},
    "LOGISTIC": {2: "1.14.0"},
    "MAXIMUM": {2: "1.14.0", 3: "2.3.0"},
    "MAX_POOL_2D": {2: "1.14.0"},
    "MEAN": {2: "1.14.0"},
    "MINIMUM": {2: "1.14.0", 3: "2.3.0"},
    "MUL": {2: "1.14.0", 3: "1.15.0"},
    "PAD": {2: "1.14.0", 4: "2.6.0"},
    "PRELU": {1: "1.8.0"},
    "QUANTIZE": {1: "1.14.0"},
    "REDUCE_MAX": {2: "1.14.0"},
    "REDUCE_MIN": {2: "1.14.0"},
    "RELU": {2: "2.1.0"},
    "RELU6": {2: "1.14.0"},
    "RELU_N1_TO_1": {1: "1.5.0"},
    "RESHAPE": {1: "1.5.0"},
    "RESIZE_BILINEAR": {2: "1.14.0", 3: "2.2.0"},
    "RESIZE_NEAREST_NEIGHBOR": {2: "1.14.0", 3: "2.3.0"},
    "RSQRT": {2: "2.5.0"},
    "SLICE": {2: "1.14.0", 5: "2.5.0"},
    "SOFTMAX": {2: "1.14.0"},
    "SPACE_TO_DEPTH": {2: "1.14.0"},
    "SQRT": {2: "2.21.0"},
    "STRIDED_SLICE": {2: "1.14.0", 4: "2.2.0"},
    "SUB": {2: "1.14.0", 3: "2.3.0"},
    "TANH": {2: "1.14.0"},
    "TRANSPOSE": {2: "1.14.0", 4: "2.3.0"},
    "TRANSPOSE_CONV": {3: "2.3.0"},
}

#: int8 weights with a scale for each channel came with this one.
OLDEST_RELEASE = "1.14"


def highest(release: str | None = None) -> dict[str, int]:
    """The highest version of each operator that a release runs.

    Args:
        release: Such as "2.14" or "2.9.0"; by default the newest there is.

    Returns:
        Versions by operator; without those of which it runs none.

    Raises:
        ValueError: It is no release, or one that does not run int8 files.
    """
    limit = None if release is None else release_number(release)
    if limit is not None and limit < release_number(OLDEST_RELEASE):
        raise ValueError(
            f"TFLite {release} does not run files with int8 weights; {OLDEST_RELEASE} is the first "
            "that does."
        )
    found = {}
    for kind, releases in FIRST_RELEASES.items():
        taken = [v for v, first in releases.items() if not limit or release_number(first) <= limit]
        if taken:
            found[kind] = max(taken)
    return found


def release_number(release: str) -> tuple[int, int, int]:
    """A release as a number to compare by: "2.14" is (2, 14, 0).

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?", release, re.ASCII)
    if match is None:
        raise ValueError(f"{release!r} is no TFLite release; write one like '2.14'.")
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)
