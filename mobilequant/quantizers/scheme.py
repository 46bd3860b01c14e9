"""How one kind of tensor is quantized: integers, what shares a scale, range, noise, estimator."""

from __future__ import annotations

import dataclasses
import math

ESTIMATORS = ("denoise", "ste", "lsq")
GRIDS = ("linear", "affine")
GRANULARITIES = ("tensor", "channel", "block")
RANGES = ("minmax", "std", "percentile", "moving", "learned")

#: `bits` of a tensor that stays in float (it may still be sparse).
FLOAT_BITS = 32
TERNARY = "ternary"

#: Ridge of the denoising regression, arXiv:2409.09245: one value everywhere.
DEFAULT_RIDGE = 0.01

#: Half width, in standard deviations, of the range that quantizes a normal distribution with the
#: smallest mean squared error into so many equal steps (J. Max, "Quantizing for minimum
#: distortion", IRE Transactions on Information Theory 6(1), 1960, table II): outermost levels.
GAUSSIAN_WIDTHS = {
    1: 0.798,
    TERNARY: 1.224,
    2: 1.494,
    3: 2.051,
    4: 2.514,
    5: 2.916,
    6: 3.280,
    7: 3.614,
    8: 3.925,
}

#: Share of the elements that a range by percentile covers.
DEFAULT_PERCENTILE = 0.999


@dataclasses.dataclass(frozen=True, repr=False)
class Scheme:
    """Quantization of one kind of tensor (weights, or activations), after arXiv:2409.09245.

    Args:
        bits: Bits an element, 1 to 8; "ternary", the integers −1, 0 and 1; or 32: left in float.
        grid: "linear" (symmetric, real zero at integer zero; weights) or "affine" (scale and
            offset; activations).
        granularity: What shares a scale: "tensor", "channel" (an output channel of weights, a
            channel of activations), or "block" (so many consecutive weights of one output
            channel; weights only).
        block_size: Weights of a block; the last one of a channel may be shorter.
        estimator: "denoise", the denoising dequantization of arXiv:2409.09245, whose gradient
            runs through the quantization noise and its statistics; "ste", the plain
            straight-through estimator (arXiv:1308.3432), whose gradient is 1 inside the range;
            or "lsq", learned step size (arXiv:1902.08153): "ste" over a learned range.
        ridge: λ of the ridge regression in "denoise", not negative. arXiv:2409.09245, eq. of
            g(q): the larger, the closer each group falls to its mean (affine) or to 0 (linear).
        range: What the integers span: "minmax", all elements of a group; "std", mean ±
            `range_width` standard deviations (for a linear grid, 0 ± root mean squares), but
            never more than all elements; "percentile", so large a share
            (`range_width`) of the elements; "moving", the moving average of the batches' smallest
            and largest values (activations); "learned", trained by gradient, from
            "std" on (at 8 bits from "minmax" on, unless there is a `range_width`).
        range_width: Standard deviations or share, see `range`. By default the number of standard
            deviations that suits a normal distribution at these bits (`GAUSSIAN_WIDTHS`), or
            0.999 of the elements.
        clip_gradient: Whether the gradient is 0 where the range clips. If not, what clips is noise
            like rounding, and the gradient passes.
        range_gradient: Whether "denoise" lets the gradient run through the range as well.
        sparsity: None; "N:M" ("2:4"): of every M consecutive weights along the input dimension
            the N largest stay; or the share of all weights that are zero, between 0 and 1.
            Weights only, linear.
        sparsity_ramp: Training steps over which that share grows from 0, by the cubic rule of
            arXiv:1710.01878.

    Raises:
        ValueError: A value is outside what is listed here, or two do not go together.
    """

    bits: int | str = 8
    grid: str = "linear"
    granularity: str = "channel"
    block_size: int = 128
    estimator: str = "denoise"
    ridge: float = DEFAULT_RIDGE
    range: str = "minmax"
    range_width: float | None = None
    clip_gradient: bool = False
    range_gradient: bool = True
    sparsity: str | float | None = None
    sparsity_ramp: int = 0

    def __post_init__(self):
        _check_bits(self.bits)
        for field, allowed in (
            ("grid", GRIDS),
            ("granularity", GRANULARITIES),
            ("estimator", ESTIMATORS),
            ("range", RANGES),
        ):
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(f"Scheme: {field} must be one of {allowed}, not {value!r}.")
        if not (_is_number(self.ridge) and 0 <= self.ridge < math.inf):
            raise ValueError(
                f"Scheme: ridge must be 0 or larger, and a number, not {self.ridge!r}."
            )
        if not _is_whole(self.block_size) or self.block_size < 1:
            raise ValueError(f"Scheme: block_size must be at least 1, not {self.block_size!r}.")
        for field in ("clip_gradient", "range_gradient"):
            if not isinstance(getattr(self, field), bool):
                raise ValueError(f"Scheme: {field} is True or False, not {getattr(self, field)!r}.")
        if self.estimator == "lsq":
            # Learned step size is a range rule too: whatever the range was, it is learned.
            object.__setattr__(self, "range", "learned")
            object.__setattr__(self, "clip_gradient", True)
            if self.bits in (1, FLOAT_BITS):
                raise ValueError(
                    "Scheme: 'lsq' starts at 2 bits (or ternary) and ends at 8; use 'denoise' or "
                    f"'ste' at {self.bits}."
                )
        if self.bits == TERNARY and self.grid == "affine":
            raise ValueError("Scheme: ternary integers are −1, 0 and 1; they need a linear grid.")
        self._check_width()
        self._check_sparsity()

    def _check_width(self):
        width = self.range_width
        if width is None:
            return
        if self.range in ("minmax", "moving"):
            raise ValueError(f"Scheme: range {self.range!r} takes no range_width.")
        largest = 1 if self.range == "percentile" else math.inf
        if not (_is_number(width) and 0 < width <= largest and width < math.inf):
            raise ValueError(
                "Scheme: range_width is a number of standard deviations above 0, or, for "
                f"'percentile', a share up to 1; not {width!r}."
            )

    def _check_sparsity(self):
        if not _is_whole(self.sparsity_ramp) or self.sparsity_ramp < 0:
            raise ValueError(
                f"Scheme: sparsity_ramp counts training steps, not {self.sparsity_ramp!r}."
            )
        if self.sparsity is None:
            if self.sparsity_ramp:
                raise ValueError("Scheme: sparsity_ramp without sparsity.")
            return
        if self.grid == "affine":
            raise ValueError(
                "Scheme: sparsity needs a linear grid: an affine one has no integer that is "
                "exactly zero."
            )
        if isinstance(self.sparsity, str):
            kept_of(self.sparsity)
            if self.sparsity_ramp:
                raise ValueError("Scheme: only a share ramps up, not N:M sparsity.")
        elif not (_is_number(self.sparsity) and 0 < self.sparsity < 1):
            raise ValueError(
                f"Scheme: sparsity is 'N:M' or a share between 0 and 1, not {self.sparsity!r}."
            )

    def __repr__(self):
        changed = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if field.name == "bits" or getattr(self, field.name) != field.default
        ]
        return f"Scheme({', '.join(changed)})"

    @property
    def quantized(self) -> bool:
        """Whether elements become integers at all."""
        return self.bits != FLOAT_BITS

    @property
    def width(self) -> float:
        """`range_width`, or its default."""
        if self.range_width is not None:
            return self.range_width
        if self.range == "percentile":
            return DEFAULT_PERCENTILE
        return GAUSSIAN_WIDTHS.get(self.bits, GAUSSIAN_WIDTHS[8])

    @property
    def storage_bits(self) -> int:
        """Bits that one integer takes: 2 for ternary ones."""
        return 2 if self.bits == TERNARY else self.bits

    @property
    def on_device_grid(self) -> bool:
        """Whether this is the grid of a device's activations: int8, one scale, one zero point."""
        return (self.bits, self.grid, self.granularity) == (8, "affine", "tensor")

    def get_config(self) -> dict:
        """The arguments as plain values: `Scheme(**scheme.get_config()) == scheme`."""
        return dataclasses.asdict(self)


def kept_of(pattern: str) -> tuple[int, int]:
    """(N, M) of "N:M".

    Raises:
        ValueError: It is no such pattern, or N is not below M.
    """
    kept, colon, of = pattern.partition(":")
    if not (colon and kept.isdecimal() and of.isdecimal() and 0 < int(kept) < int(of)):
        raise ValueError(
            f"Scheme: sparsity {pattern!r} is not 'N:M' with 0 < N < M, such as '2:4'."
        )
    return int(kept), int(of)


def _check_bits(bits):
    if bits in (TERNARY, FLOAT_BITS) and not isinstance(bits, float):
        return
    if not _is_whole(bits) or not 1 <= bits <= 8:
        raise ValueError(
            "Scheme: bits must be a whole number from 1 to 8, 'ternary', or 32 (float), not "
            f"{bits!r}."
        )


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)
