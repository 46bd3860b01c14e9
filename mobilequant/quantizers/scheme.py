"""How one kind of tensor is quantized: bits, grid, what shares a scale, and the estimator."""

from __future__ import annotations

import dataclasses

ESTIMATORS = ("denoise", "ste")
GRIDS = ("linear", "affine")
GRANULARITIES = ("tensor", "channel")

#: Ridge of the denoising regression, arXiv:2409.09245: one value everywhere.
DEFAULT_RIDGE = 0.01


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Quantization of one kind of tensor (weights, or activations).

    Args:
        bits: Bits an element, 1 to 8.
        grid: "linear" (symmetric, real zero at integer zero; weights) or "affine" (scale and
            zero point; activations).
        granularity: What shares a scale: "tensor" or "channel" (an output channel).
        estimator: "denoise", the denoising dequantization of arXiv:2409.09245, whose gradient
            runs through the quantization noise and its statistics; or "ste", the plain
            straight-through estimator (arXiv:1308.3432), whose gradient is 1 inside the range.
        ridge: λ of the ridge regression in "denoise", not negative. arXiv:2409.09245, eq. of
            g(q): the larger, the closer each group falls to its mean (affine) or to 0 (linear).

    Raises:
        ValueError: A value is outside what is listed here.
    """

    bits: int = 8
    grid: str = "linear"
    granularity: str = "channel"
    estimator: str = "denoise"
    ridge: float = DEFAULT_RIDGE

    def __post_init__(self):
        if not isinstance(self.bits, int) or not 1 <= self.bits <= 8:
            raise ValueError(f"Scheme: bits must be a whole number from 1 to 8, not {self.bits!r}.")
        for field, allowed in (
            ("grid", GRIDS),
            ("granularity", GRANULARITIES),
            ("estimator", ESTIMATORS),
        ):
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(f"Scheme: {field} must be one of {allowed}, not {value!r}.")
        if not self.ridge >= 0:
            raise ValueError(f"Scheme: ridge must be 0 or larger, not {self.ridge!r}.")

    def get_config(self) -> dict:
        """The arguments as plain values: `Scheme(**scheme.get_config()) == scheme`."""
        return dataclasses.asdict(self)
