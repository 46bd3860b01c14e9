"""Numbers in, quantized numbers out. Knows no layer and no model."""

from mobilequant.quantizers.affine import affine_grid, fake_quantize_affine, integer_limits
from mobilequant.quantizers.linear import (
    fake_quantize_linear,
    largest_integer,
    nearest_integer,
    quantize_linear,
)
from mobilequant.quantizers.scheme import ESTIMATORS, GRIDS, Scheme

__all__ = [
    "ESTIMATORS",
    "GRIDS",
    "Scheme",
    "affine_grid",
    "fake_quantize_affine",
    "fake_quantize_linear",
    "integer_limits",
    "largest_integer",
    "nearest_integer",
    "quantize_linear",
]
