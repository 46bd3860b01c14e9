"""What the device computes: LiteRT's int8 operators, and the graph of them."""

from mobilequant.integer import arithmetic
from mobilequant.integer.graph import (
    Constant,
    FloatBlock,
    FloatTensor,
    FrozenGraph,
    IndexTensor,
    Operator,
    Tensor,
    Weights,
)

__all__ = [
    "Constant",
    "FloatBlock",
    "FloatTensor",
    "IndexTensor",
    "FrozenGraph",
    "Operator",
    "Tensor",
    "Weights",
    "arithmetic",
]
