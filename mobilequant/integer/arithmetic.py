"""The integer arithmetic of LiteRT's int8 operators on its default CPU path, XNNPACK.

Every function takes and returns *centred* integers X = q − zero point as float32 whole numbers
(|X| ≤ 255: exact), because that is what padding, convolution and addition work on; the scales
and zero points of TFLite come beside them as `Grid`s. The formulas were found by experiment
against the interpreter, and `tests/mobilequant/integer` holds them to it, operator by operator,
over random shapes, scales and zero points.

This module is the door to those behind it, each one family of operators.
"""

from mobilequant.integer.elementwise import (
    ADD_RATIOS,
    MUL_RATIOS,
    RESCALE_RATIOS,
    add,
    adds_exactly,
    maximum,
    minimum,
    multiply,
    rescale,
    subtract,
)
from mobilequant.integer.functions import (
    FIXED_GRIDS,
    FUNCTION_RATIOS,
    FUNCTIONS,
    LEAKY_RELU_RATIOS,
    OF_NO_NEGATIVES,
    function_table,
    lookup,
    prelu,
    quantize_alpha,
)
from mobilequant.integer.grid import (
    LARGEST,
    LARGEST_CENTRED,
    SMALLEST,
    Grid,
    activation_bounds,
    constant_grid,
    dequantize,
    quantize,
    recover,
)
from mobilequant.integer.moving import depth_to_space, space_to_depth
from mobilequant.integer.pooling import average_pool, max_pool
from mobilequant.integer.products import (
    MATMUL_RATIOS,
    batch_matmul,
    convolution,
    depthwise_convolution,
    fully_connected,
    kernel_covers_strides,
    multiplier,
    requantize,
    transposed_convolution,
)
from mobilequant.integer.reductions import SOFTMAX_GRID, mean, softmax
from mobilequant.integer.resizing import resize_bilinear, resize_nearest

__all__ = [
    "ADD_RATIOS",
    "FIXED_GRIDS",
    "FUNCTIONS",
    "FUNCTION_RATIOS",
    "LARGEST",
    "LARGEST_CENTRED",
    "LEAKY_RELU_RATIOS",
    "MATMUL_RATIOS",
    "MUL_RATIOS",
    "OF_NO_NEGATIVES",
    "RESCALE_RATIOS",
    "SMALLEST",
    "SOFTMAX_GRID",
    "Grid",
    "activation_bounds",
    "add",
    "adds_exactly",
    "average_pool",
    "batch_matmul",
    "constant_grid",
    "convolution",
    "kernel_covers_strides",
    "depth_to_space",
    "depthwise_convolution",
    "dequantize",
    "fully_connected",
    "function_table",
    "lookup",
    "max_pool",
    "maximum",
    "mean",
    "minimum",
    "multiplier",
    "multiply",
    "prelu",
    "quantize",
    "quantize_alpha",
    "recover",
    "requantize",
    "rescale",
    "resize_bilinear",
    "resize_nearest",
    "softmax",
    "space_to_depth",
    "subtract",
    "transposed_convolution",
]
