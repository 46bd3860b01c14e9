"""Where integers lie on the real line, and the integers that a tensor can hold."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

#: int8, the type of every activation.
SMALLEST, LARGEST = -128, 127

#: Largest magnitude of a centred activation, q − z.
LARGEST_CENTRED = LARGEST - SMALLEST


class Grid(NamedTuple):
    """Where real values lie: real = scale * (q − zero_point). float32 scalars or tensors."""

    scale: object
    zero_point: object


def constant_grid(scale, zero_point=0) -> Grid:
    """A grid of plain numbers, which is the same in every call, as tensors."""
    return Grid(
        ops.convert_to_tensor(scale, dtype="float32"),
        ops.convert_to_tensor(float(zero_point), dtype="float32"),
    )


def quantize(x, grid: Grid):
    """Real values to centred integers: LiteRT's QUANTIZE, float32 to int8.

    Args:
        x: float32 tensor of any shape.
        grid: The grid of the result.
    """
    return saturate(ops.round(x * (1.0 / grid.scale)), grid)


def dequantize(centred, grid: Grid):
    """Centred integers to real values."""
    return centred * grid.scale


def recover(x, grid: Grid):
    """Centred integers back from real values that `dequantize` made: exact, since |X| ≤ 255."""
    return ops.round(x / grid.scale)


def saturate(centred, grid: Grid):
    """Centred whole numbers of any size to those that int8 holds."""
    return ops.clip(centred, SMALLEST - grid.zero_point, LARGEST - grid.zero_point)


def activate(centred, grid: Grid, activation: str):
    """Centred whole numbers of any size to those that int8 and a fused activation let through."""
    low, high = activation_bounds(activation, grid)
    return ops.clip(centred, low - grid.zero_point, high - grid.zero_point)


def activation_bounds(activation: str, grid: Grid):
    """Smallest and largest integer that a fused activation lets through.

    Args:
        activation: "NONE", "RELU", "RELU6" or "RELU_N1_TO_1".
        grid: The output's grid.
    """
    low, high = {
        "NONE": (None, None),
        "RELU": (0.0, None),
        "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }[activation]

    def bound(value, otherwise):
        if value is None:
            return otherwise
        # The zero point is added before rounding; a quotient cannot fuse with the addition.
        return ops.clip(ops.round(value / grid.scale + grid.zero_point), SMALLEST, LARGEST)

    return bound(low, SMALLEST), bound(high, LARGEST)
