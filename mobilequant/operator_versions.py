"""The versions of each builtin operator that our files hold.

Which TFLite release each came with `tflite_tools.runtimes` tells, a table that imports nothing.
"""

from __future__ import annotations

from tflite_tools.runtimes import NEWEST_RELEASE, first_release, release_number

#: Versions by operator, the oldest first.
WRITTEN: dict[str, tuple[int, ...]] = {
    "ABS": (2,),
    "ADD": (2,),
    "ARG_MAX": (2,),
    "AVERAGE_POOL_2D": (2,),
    "BATCH_MATMUL": (2,),
    "CONCATENATION": (2,),
    "CONV_2D": (3, 6),
    "DEPTHWISE_CONV_2D": (3,),
    "DEPTH_TO_SPACE": (1,),
    "DEQUANTIZE": (2,),
    "ELU": (1,),
    "EXP": (2,),
    "FULLY_CONNECTED": (4, 5, 12),
    "GELU": (2,),
    "HARD_SWISH": (1,),
    "LEAKY_RELU": (1,),
    "LOG": (2,),
    "LOGISTIC": (2,),
    "MAXIMUM": (2, 3),
    "MAX_POOL_2D": (2,),
    "MEAN": (2,),
    "MINIMUM": (2, 3),
    "MUL": (2, 3),
    "PAD": (2, 4),
    "PRELU": (1,),
    "QUANTIZE": (1,),
    "REDUCE_MAX": (2,),
    "REDUCE_MIN": (2,),
    "RELU": (2,),
    "RELU6": (2,),
    "RELU_N1_TO_1": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (2, 3),
    "RESIZE_NEAREST_NEIGHBOR": (2, 3),
    "RSQRT": (2,),
    "SLICE": (2, 5),
    "SOFTMAX": (2,),
    "SPACE_TO_DEPTH": (2,),
    "SQRT": (2,),
    "STRIDED_SLICE": (2, 4),
    "SUB": (2, 3),
    "TANH": (2,),
    "TRANSPOSE": (2, 4),
    "TRANSPOSE_CONV": (3,),
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
        ValueError: It is no release, one that does not run int8 files, or a newer one than is
            known.
    """
    limit = None if release is None else release_number(release)
    if limit is not None and limit < release_number(OLDEST_RELEASE):
        raise ValueError(
            f"TFLite {release} does not run files with int8 weights; {OLDEST_RELEASE} is the first "
            "that does."
        )
    if limit is not None and limit[:2] > release_number(NEWEST_RELEASE)[:2]:
        raise ValueError(
            f"There is no TFLite {release}, or it is newer than this package, which knows releases "
            f"up to {NEWEST_RELEASE}; target='phone' is for the current one."
        )
    found = {}
    for kind, versions in WRITTEN.items():
        taken = [v for v in versions if limit is None or _release(kind, v) <= limit]
        if taken:
            found[kind] = max(taken)
    return found


def runs_in_float(kind: str, release: str | None) -> bool:
    """Whether a release, None for the newest, runs an operator of floats: its first version."""
    first = first_release(kind, 1)
    return release is None or first is None or release_number(first) <= release_number(release)


def _release(kind: str, version: int) -> tuple[int, int, int]:
    return release_number(first_release(kind, version))
