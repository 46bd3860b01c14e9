"""How far two lots of integers, or of floats, lie from each other, gathered batch by batch."""

from __future__ import annotations

import dataclasses

import numpy as np

from tflite_tools.figures import Figures, share, short

#: How far a float kernel may lie from another one, in terms of the largest value that it gives.
FLOAT_TOLERANCE = 1e-4


@dataclasses.dataclass
class Agreement(Figures):
    """Figures of one tensor of integers, in quantization steps.

    Attributes:
        max_steps: Largest difference.
        allowed: Largest difference that the target promises; None where nothing is promised.
    """

    max_steps: int = 0
    allowed: int | None = 0
    _within_one: int = 0
    _histogram: np.ndarray | int = dataclasses.field(default=0, repr=False)

    def add(self, expected: np.ndarray, got: np.ndarray) -> None:
        """Counts one batch; both int8, or both int16, and of the same shape."""
        wide = np.int16 if got.itemsize == 1 else np.int32
        least = np.iinfo(got.dtype).min
        steps = np.abs(expected.astype(wide) - got)
        self._count(steps == 0, expected, got)
        self.max_steps = max(self.max_steps, int(steps.max(initial=0)))
        self._within_one += int(np.count_nonzero(steps <= 1))
        codes = got.ravel().astype(wide) - least
        self._histogram = self._histogram + np.bincount(codes, minlength=-2 * least)

    @property
    def within_one_step(self) -> float:
        """Share of elements that are the same integer or its neighbour."""
        return self._within_one / max(self.elements, 1)

    @property
    def breaks(self) -> bool:
        return self.allowed is not None and self.max_steps > self.allowed

    @property
    def differs(self) -> bool:
        return self.max_steps > 0

    @property
    def distance(self) -> str:
        return f"{self.max_steps} step{'' if self.max_steps == 1 else 's'}"

    @property
    def allowance(self) -> str:
        return str(self.allowed)

    @property
    def smallest(self) -> int:
        """Smallest integer of the file's tensor; of uint8 ones 128 less."""
        return self._integers[0]

    @property
    def largest(self) -> int:
        """Largest integer of the file's tensor; of uint8 ones 128 less."""
        return self._integers[-1]

    @property
    def span(self) -> int:
        """Integers from the smallest to the largest: agreement on a constant means nothing."""
        return self.largest - self.smallest + 1 if self.elements else 0

    @property
    def distinct(self) -> int:
        """Number of different integers."""
        return int(np.count_nonzero(self._histogram))

    @property
    def bits(self) -> int:
        """Bits of the integers: 8 or 16."""
        return 8 if np.ndim(self._histogram) == 0 else len(self._histogram).bit_length() - 1

    @property
    def _integers(self) -> list[int]:
        """The integers that occur, in order; a zero where nothing was compared."""
        if np.ndim(self._histogram) == 0:
            return [0]
        return (np.flatnonzero(self._histogram) - len(self._histogram) // 2).tolist()

    def to_dict(self) -> dict:
        return {
            "name": self.name,
            "kind": self.kind,
            "elements": self.elements,
            "equal": self.equal,
            "within_one_step": self.within_one_step,
            "max_steps": self.max_steps,
            "top1_agreement": self.top1_agreement,
            "smallest": self.smallest,
            "largest": self.largest,
            "span": self.span,
            "distinct": self.distinct,
        }

    def row(self) -> tuple[str, ...]:
        return (
            short(self.name),
            self.kind,
            share(self.equal),
            share(self.within_one_step),
            str(self.max_steps),
            share(self.top1_agreement),
            f"{self.smallest} to {self.largest}",
            str(self.distinct),
        )


@dataclasses.dataclass
class IndexAgreement(Agreement):
    """Figures of indices, of classes for example: equal or not, however far apart.

    A difference counts as one step; a neighbour is as wrong as any other.
    """

    _seen: set = dataclasses.field(default_factory=set, repr=False)

    def add(self, expected: np.ndarray, got: np.ndarray) -> None:
        """Counts one batch; both int32 and of the same shape."""
        equal = expected == got
        self.elements += equal.size
        self._equal += int(np.count_nonzero(equal))
        self._within_one = self._equal
        self.max_steps = int(self._equal < self.elements)
        self._seen.update(np.unique(got).tolist())

    @property
    def smallest(self) -> int:
        """Smallest index of the file's tensor."""
        return min(self._seen, default=0)

    @property
    def largest(self) -> int:
        """Largest index of the file's tensor."""
        return max(self._seen, default=0)

    @property
    def distinct(self) -> int:
        """Number of different indices."""
        return len(self._seen)


@dataclasses.dataclass
class FloatAgreement(Figures):
    """Figures of a tensor of real values, such as float layers give.

    Attributes:
        largest: Largest magnitude of what is expected.
        largest_error: Largest difference.
        promised: Whether it must lie within `FLOAT_TOLERANCE`, in terms of `largest`; nothing is
            promised of what lies behind integers that came from float themselves.
    """

    kind: str = "FLOAT"
    largest: float = 0.0
    largest_error: float = 0.0
    promised: bool = True
    _power: float = 0.0
    _noise: float = 0.0

    def add(self, expected: np.ndarray, got: np.ndarray) -> None:
        """Counts one batch; both float32 and of the same shape."""
        with np.errstate(invalid="ignore"):  # infinity from infinity
            errors = np.where(expected == got, 0, np.abs(expected - got))
        # What is no number in the file is as far away as can be.
        errors = np.where(np.isfinite(errors), errors, np.inf)
        largest = float(np.abs(expected).max(initial=0))
        self._count(errors <= FLOAT_TOLERANCE * (largest or 1), expected, got)
        self.largest = max(self.largest, largest)
        self.largest_error = max(self.largest_error, float(errors.max(initial=0)))
        self._power += float(np.square(expected, dtype=np.float64).sum())
        self._noise += float(np.square(errors, dtype=np.float64).sum())

    @property
    def relative_error(self) -> float:
        """Largest difference in terms of the largest value."""
        return self.largest_error / self.largest if self.largest else self.largest_error

    @property
    def signal_to_noise(self) -> float | None:
        """Power of the expected values to that of the differences, in dB.

        None where there is no difference, or no finite one.
        """
        if not (self._power and self._noise and np.isfinite(self._power + self._noise)):
            return None
        return float(10 * np.log10(self._power / self._noise))

    @property
    def differs(self) -> bool:
        return self.relative_error > FLOAT_TOLERANCE

    @property
    def breaks(self) -> bool:
        return self.promised and self.differs

    @property
    def distance(self) -> str:
        return f"{self.relative_error:.2g} of its largest value"

    @property
    def allowance(self) -> str:
        return f"{FLOAT_TOLERANCE:g}"

    def to_dict(self) -> dict:
        return {
            "name": self.name,
            "kind": self.kind,
            "elements": self.elements,
            "equal": self.equal,
            "largest": _finite(self.largest),
            "largest_error": _finite(self.largest_error),
            "relative_error": _finite(self.relative_error),
            "signal_to_noise": self.signal_to_noise,
            "top1_agreement": self.top1_agreement,
        }

    def row(self) -> tuple[str, ...]:
        error = f"{self.relative_error:.1e} rel."
        return (
            short(self.name),
            self.kind,
            share(self.equal),
            "-",
            error,
            share(self.top1_agreement),
            f"±{self.largest:.4g}",
            "-",
        )


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if np.isfinite(value) else None
