"""Numbers in, quantized numbers out. Knows no layer and no model."""

from mobilequant.quantizers.affine import affine_grid, fake_quantize_affine
from mobilequant.quantizers.clipping import (
    histogram_dequantization,
    least_error_range,
    percentile_range,
)
from mobilequant.quantizers.denoising import fake_quantize, levels, transform, weight_range
from mobilequant.quantizers.histogram import Histogram
from mobilequant.quantizers.integers import (
    integer_limits,
    largest_integer,
    nearest_integer,
    step_count,
)
from mobilequant.quantizers.linear import quantize_linear
from mobilequant.quantizers.product import affine_matmul
from mobilequant.quantizers.ranges import group_axes, range_of
from mobilequant.quantizers.scheme import ESTIMATORS, FLOAT_BITS, GRIDS, TERNARY, Scheme
from mobilequant.quantizers.sparsity import ramped_share, sparsity_mask

__all__ = [
    "ESTIMATORS",
    "FLOAT_BITS",
    "GRIDS",
    "TERNARY",
    "Histogram",
    "Scheme",
    "affine_grid",
    "affine_matmul",
    "fake_quantize",
    "fake_quantize_affine",
    "group_axes",
    "histogram_dequantization",
    "integer_limits",
    "largest_integer",
    "least_error_range",
    "levels",
    "nearest_integer",
    "percentile_range",
    "quantize_linear",
    "ramped_share",
    "range_of",
    "sparsity_mask",
    "step_count",
    "transform",
    "weight_range",
]
