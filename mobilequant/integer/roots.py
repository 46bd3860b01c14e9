"""RSQRT in LiteRT's fixed-point arithmetic.

The kernel finds 1/√X of the centred integer X by Newton's iteration, the same for every grid; the
scales come in as one factor behind it. So the iteration is done once, in Python's integers, and
only the factor is computed with tensors.
"""

from __future__ import annotations

import functools

import numpy as np
from keras import ops

from mobilequant.integer import fixed_point
from mobilequant.integer.grid import LARGEST, LARGEST_CENTRED, Grid, saturate
from mobilequant.quantizers.exact import rounded

#: Bits behind the point of the roots that the kernel multiplies by the factor.
_FRACTION_BITS = 20

#: Newton's iterations of the kernel.
_ITERATIONS = 5

#: 1, 3/2 and √(1/2) as the kernel has them: 28 bits behind the point, the last one 31.
_ONE, _THREE_HALVES, _ROOT_OF_HALF = 2**28, 3 * 2**27, 1518500250


def reciprocal_square_root(x, source: Grid, output: Grid):
    """RSQRT of one tensor.

    Args:
        x: Centred integers. At 0 the result is the largest integer that there is, as on the
            device, which ends with an error below 0: give it a grid with the zero point −128.
        source, output: Grids of the input and of the output.
    """
    denominator = rounded(ops.sqrt(source.scale) * output.scale)
    factor = fixed_point.fixed_point(1.0, denominator)
    factor = fixed_point.FixedPoint(factor.mantissa, factor.shift - _FRACTION_BITS)
    index = ops.cast(ops.clip(x, 1, LARGEST_CENTRED), "int32") - 1
    y = fixed_point.multiply(ops.take(_reciprocal_roots(), index), factor)
    y = ops.where(x > 0, ops.cast(y, "float32"), LARGEST - output.zero_point)
    return saturate(y, output)


@functools.cache
def _reciprocal_roots() -> np.ndarray:
    """1/√X for X from 1 to 255, 20 bits behind the point, as the kernel has them."""
    return np.array([_reciprocal_root(x) for x in range(1, LARGEST_CENTRED + 1)], np.int32)


def _reciprocal_root(x: int) -> int:
    if x == 1:
        return 2**_FRACTION_BITS
    # a = x · 4^pairs / 2²⁹ lies in [1/4, 1), and 1/√x = 2^(pairs − 14) · √(1/2) / √a.
    pairs = (31 - x.bit_length()) // 2 - 1
    root = _newton((x << 2 * pairs) >> 1)
    return _high_product(1 << (_FRACTION_BITS + pairs - 11), root)


def _newton(a: int) -> int:
    """√(1/2) / √a, both with 28 bits behind the point."""
    half = (a + 1) >> 1
    root = _ONE
    for _ in range(_ITERATIONS):
        cube = _high_product(_high_product(root, root), root) << 6
        root = (_high_product(_THREE_HALVES, root) - _high_product(half, cube)) << 3
    return _high_product(root, _ROOT_OF_HALF)


def _high_product(a: int, b: int) -> int:
    return (a * b + 2**30) >> 31
