"""Functions of one int8 tensor: whatever a kernel does, it is a table of 256 entries.

`function_table` fills the table with the kernel's own arithmetic, `lookup` reads it. Tables are
computed in float64 where the backend has it (JAX by default does not: an entry in many thousands
may differ there by a step).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from keras import ops

from mobilequant.integer import elementwise, fixed_point
from mobilequant.integer.grid import LARGEST, SMALLEST, Grid, saturate
from mobilequant.integer.reductions import SOFTMAX_GRID
from mobilequant.integer.roots import reciprocal_square_root
from mobilequant.integer.rounding import in_double, look_up, round_away
from mobilequant.quantizers.exact import rounded

#: Output grids that kernels force.
FIXED_GRIDS: Mapping[str, Grid] = {
    "LOGISTIC": Grid(np.float32(1 / 256), np.float32(-128)),
    "TANH": Grid(np.float32(1 / 128), np.float32(0)),
    "SOFTMAX": SOFTMAX_GRID,
}

#: Scale of the input over scale of the output for which there is a table, [low, high). LiteRT
#: does not load a HARD_SWISH outside; other functions would leave the 32 bits that they have.
FUNCTION_RATIOS: Mapping[str, tuple[float, float]] = {
    "ABS": (0.0, 2.0**14),
    "HARD_SWISH": (2.0**-9, 128.0),
    "LEAKY_RELU": (0.0, 2.0**14),
    "PRELU": (0.0, 2.0**14),
    "RELU": (0.0, 2.0**14),
    "RELU6": (0.0, 2.0**14),
    "RELU_N1_TO_1": (0.0, 2.0**14),
}

#: Scale of the input over scale of the output, and the magnitude of alpha times that, within
#: which XNNPACK takes LEAKY_RELU, [low, high].
LEAKY_RELU_RATIOS = (2.0**-8, 128.0)

#: More steps than int8 has, and few enough to be rounded.
_FAR = 2.0**20

#: Below all real values behind an integer above 0.
_TINY = float(np.finfo(np.float32).tiny)

#: Functions without a value below 0, where LiteRT ends with an error: their input's zero point
#: must be −128.
OF_NO_NEGATIVES = ("RSQRT", "SQRT")


def function_table(kind: str, source: Grid, output: Grid, **options):
    """Centred integers that a function gives for each of the 256 integers of its input.

    Args:
        kind: TFLite's name of the operator, a key of `FUNCTIONS`.
        source: Grid of the input.
        output: Grid of the output; `FIXED_GRIDS` has those that a kernel forces.
        options: LEAKY_RELU and PRELU: alpha, a number (PRELU: as `quantize_alpha` gives it).
            GELU: approximate, whether to take the hyperbolic tangent's formula.

    Returns:
        float32 whole numbers, (256,), the first for the integer −128.
    """
    try:
        function = FUNCTIONS[kind]
    except KeyError:
        raise ValueError(
            f"No table for the function {kind!r}; known are {', '.join(FUNCTIONS)}."
        ) from None
    source, output = (
        Grid(*(ops.convert_to_tensor(number, "float32") for number in grid))
        for grid in (source, output)
    )
    centred = np.arange(SMALLEST, LARGEST + 1, dtype="float32") - source.zero_point
    table = function(centred, source, output, **options)
    # XLA would compute an entry anew for each element that is looked up, 50 times slower in all.
    # It does not take a matrix product, here with the identity, into the loop of a look-up; whole
    # numbers below 2¹¹ pass even a product of reduced precision.
    return ops.matmul(ops.expand_dims(table, 0), np.eye(256, dtype="float32"))[0]


def lookup(x, grid: Grid, table):
    """What a table gives for centred integers.

    Args:
        x: Centred integers of any shape.
        grid: Their grid.
        table: What `function_table` gave for this grid.
    """
    return look_up(table, x + (grid.zero_point - SMALLEST))


def prelu(x, alpha, grid: Grid, alpha_grid: Grid, output: Grid):
    """PRELU with a slope for each channel or element.

    Args:
        x: Centred integers.
        alpha: Centred integers of the slopes, to be broadcast against `x`.
        grid, alpha_grid, output: Grids of `x`, of `alpha` and of the output.
    """
    positive = fixed_point.fixed_point(grid.scale / output.scale)
    negative = fixed_point.fixed_point(rounded(grid.scale * alpha_grid.scale) / output.scale)
    y = ops.where(
        x >= 0,
        fixed_point.multiply(ops.cast(x, "int32"), positive),
        fixed_point.multiply(ops.cast(x * alpha, "int32"), negative),
    )
    return saturate(ops.cast(y, "float32"), output)


def _in_real_numbers(function) -> Callable:
    """XNNPACK's tables: in double, to float32, divided, moved and rounded half to even."""

    def table(x, source, output, **options):
        y = rounded(_at(function, x, source, **options) * (1.0 / output.scale))
        return ops.clip(ops.round(y + output.zero_point), SMALLEST, LARGEST) - output.zero_point

    return table


def _in_own_table(function) -> Callable:
    """LiteRT's own tables: divided, rounded half away from zero, then moved."""

    def table(x, source, output):
        y = _at(function, x, source) * (1.0 / output.scale)
        return saturate(round_away(ops.clip(y, -_FAR, _FAR)), output)

    return table


def _gelu(x, source, output, approximate=False):
    table = _in_own_table(_gelu_by_tanh if approximate else _gelu_by_erf)
    return table(x, source, output)


def _absolute(x, source, output):
    factor = fixed_point.fixed_point(source.scale / output.scale)
    y = fixed_point.multiply(ops.cast(ops.abs(x), "int32"), factor)
    return saturate(ops.cast(y, "float32"), output)


def _logarithm(x, source, output):
    """The smallest integer for what has none."""
    table = _in_own_table(lambda x: ops.log(ops.maximum(x, _TINY)))(x, source, output)
    return ops.where(x > 0, table, SMALLEST - output.zero_point)


def _square_root(x, source, output):
    """Not rounded, but cut off; ends with an error below 0, where this gives that of 0."""
    root = rounded(ops.sqrt(ops.maximum(x, 0.0) * source.scale))
    return saturate(ops.floor(root / output.scale), output)


def _clipped(low, high=None) -> Callable:
    """LiteRT's own RELU and its kin: another rounding of the bounds than fused ones have."""

    def table(x, source, output):
        factor = fixed_point.fixed_point(source.scale / output.scale)
        y = ops.cast(fixed_point.multiply(ops.cast(x, "int32"), factor), "float32")
        y = ops.maximum(y, round_away(low / output.scale))
        if high is not None:
            y = ops.minimum(y, round_away(high / output.scale))
        return saturate(y, output)

    return table


def _leaky_relu(x, source, output, alpha):
    rising = source.scale / output.scale
    falling = rising * float(np.float32(alpha))
    # XNNPACK, in fixed point with 8 bits behind the point.
    factor = ops.cast(ops.round(256.0 * ops.where(x < 0, falling, rising)), "int32")
    short = ops.right_shift(ops.cast(x, "int32") * factor + 128, 8)
    # LiteRT itself, where that is too coarse or too small. A negative slope's sign goes to x.
    whole = ops.cast(x, "int32")
    sign = -1 if alpha < 0 else 1
    by_sign = ops.where(
        x < 0,
        fixed_point.multiply(sign * whole, fixed_point.fixed_point(ops.abs(falling))),
        fixed_point.multiply(whole, fixed_point.fixed_point(rising)),
    )
    low, high = LEAKY_RELU_RATIOS
    smallest = ops.minimum(rising, ops.abs(falling))
    # The factors are 16-bit numbers with 8 bits behind the point: −128 is one of them, but the
    # kernel keeps its distance.
    takes = ops.logical_and(smallest >= low, ops.maximum(rising, falling) <= high)
    takes = ops.logical_and(takes, falling >= 2.0**-8 - high)
    return saturate(ops.cast(ops.where(takes, short, by_sign), "float32"), output)


def _prelu(x, source, output, alpha):
    alpha, grid = quantize_alpha(alpha)
    return prelu(x, alpha, source, grid, output)


def _hard_swish(x, source, output):
    """16 bits throughout, in int32 here; every step is one of the kernel's."""
    x = ops.cast(x, "int32") * 128
    hires = source.scale * (1 / 128)
    output_factor, output_shift = _short(hires / output.scale)
    gate_factor, gate_shift = _short(hires / float(np.float32(3.0 / 32768.0)))
    unshifted = _short_product(x, output_factor)
    # The gate, relu6(x + 3) / 6: x · 1/3 saturates at ±1 where the shift goes left, in two steps.
    left = ops.maximum(gate_shift - 1, 0)
    gate = _saturate_short(x * ops.left_shift(np.int32(1), ops.minimum(left, 14)))
    gate = _short_product(gate, gate_factor)
    gate = ops.where(gate_shift > 0, _saturate_short(gate * 2), gate)
    gate = fixed_point.rounding_shift(gate, ops.maximum(-gate_shift, 0))
    gate = ops.right_shift(gate + 2**15, 1)
    product = gate * unshifted
    # Truncated towards zero.
    product = ops.sign(product) * ops.right_shift(ops.abs(product), 15)
    y = fixed_point.rounding_shift(product, -output_shift)
    return saturate(ops.cast(y, "float32"), output)


def _short(factor):
    """A fixed-point number with a mantissa of 15 bits."""
    mantissa, shift = fixed_point.fixed_point(factor)
    # Halves first: mantissa + 2¹⁵ may not fit int32.
    rounded_up = ops.right_shift(ops.right_shift(mantissa, 1) + 2**14, 15)
    return ops.minimum(rounded_up, 2**15 - 1), shift


def _short_product(a, b):
    """a · b / 2¹⁵ of 16-bit numbers, rounded half up."""
    return _saturate_short(ops.right_shift(a * b + 2**14, 15))


def _saturate_short(x):
    return ops.clip(x, -(2**15), 2**15 - 1)


def _at(function, x, source, **options):
    """A function of the real values behind centred integers."""
    return in_double(function, x * source.scale, **options)


def _elu(x):
    return ops.where(x < 0, ops.expm1(ops.minimum(x, 0)), x)


def _gelu_by_erf(x):
    return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))


def _gelu_by_tanh(x):
    return 0.5 * x * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def quantize_alpha(alpha):
    """PRELU's slopes as centred integers and their grid, symmetric: no slope moves another.

    Args:
        alpha: A number or an array of them.

    Returns:
        float32 whole numbers of the shape of `alpha`, and their `Grid`.
    """
    alpha = np.asarray(alpha, "float32")
    largest = float(np.max(np.abs(alpha)))
    grid = Grid(np.float32(largest / LARGEST if largest else 1.0), np.float32(0))
    return np.rint(alpha / grid.scale).astype("float32"), grid


#: The functions that there are tables for, by the operator's name.
FUNCTIONS: Mapping[str, Callable] = {
    "ABS": _absolute,
    "ELU": _in_real_numbers(_elu),
    "EXP": _in_own_table(ops.exp),
    "GELU": _gelu,
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "LOG": _logarithm,
    "LOGISTIC": _in_real_numbers(ops.sigmoid),
    "PRELU": _prelu,
    "QUANTIZE": elementwise.rescale,
    "RELU": _clipped(0.0),
    "RELU6": _clipped(0.0, 6.0),
    "RELU_N1_TO_1": _clipped(-1.0, 1.0),
    "RSQRT": reciprocal_square_root,
    "SQRT": _square_root,
    "TANH": _in_real_numbers(ops.tanh),
}
