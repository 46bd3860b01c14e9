"""How far two lots of integers, or of floats, lie from each other, gathered batch by batch."""

from __future__ import annotations

import dataclasses

import numpy as np

_CODES = 256  # of int8

#: How far a float kernel may lie from another one, in terms of the largest value that it gives.
FLOAT_TOLERANCE = 1e-4


@dataclasses.dataclass
class Agreement:
    """Figures of one tensor, in quantization steps.

    Attributes:
        name: The tensor.
        kind: The operator that computes it.
        elements: Number of elements compared.
        max_steps: Largest difference.
        top1_agreement: Share of rows (along the last axis) with the largest integer at the same
            place; None where the last axis has one element.
        allowed: Largest difference that the target promises; None where nothing is promised.
    """

    name: str
    kind: str = ""
    elements: int = 0
    max_steps: int = 0
    allowed: int | None = 0
    _equal: int = 0
    _within_one: int = 0
    _rows: int = 0
    _same_top: int = 0
    _histogram: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros(_CODES, np.int64), repr=False
    )

    def add(self, expected: np.ndarray, got: np.ndarray) -> None:
        """Counts one batch; both int8 and of the same shape."""
        steps = np.abs(expected.astype(np.int16) - got)
        self.elements += steps.size
        self.max_steps = max(self.max_steps, int(steps.max(initial=0)))
        self._equal += int(np.count_nonzero(steps == 0))
        self._within_one += int(np.count_nonzero(steps <= 1))
        self._histogram += np.bincount(got.ravel().astype(np.int16) + 128, minlength=_CODES)
        if got.shape[-1] > 1:
            same = expected.argmax(axis=-1) == got.argmax(axis=-1)
            self._rows += same.size
            self._same_top += int(np.count_nonzero(same))

    @property
    def equal(self) -> float:
        """Share of elements that are the same integer."""
        return self._equal / max(self.elements, 1)

    @property
    def within_one_step(self) -> float:
        """Share of elements that are the same integer or its neighbour."""
        return self._within_one / max(self.elements, 1)

    @property
    def top1_agreement(self) -> float | None:
        return self._same_top / self._rows if self._rows else None

    @property
    def breaks(self) -> bool:
        """Whether the difference is larger than promised."""
        return self.allowed is not None and self.max_steps > self.allowed

    @property
    def differs(self) -> bool:
        """Whether there is a difference."""
        return self.max_steps > 0

    @property
    def distance(self) -> str:
        """The largest difference, for people."""
        return f"{self.max_steps} steps"

    @property
    def allowance(self) -> str:
        """What is promised, for people."""
        return str(self.allowed)

    @property
    def smallest(self) -> int:
        """Smallest int8 integer of the file's tensor."""
        return int(np.flatnonzero(self._histogram)[0]) - 128 if self.elements else 0

    @property
    def largest(self) -> int:
        """Largest int8 integer of the file's tensor."""
        return int(np.flatnonzero(self._histogram)[-1]) - 128 if self.elements else 0

    @property
    def span(self) -> int:
        """Integers from the smallest to the largest: agreement on a constant means nothing."""
        return self.largest - self.smallest + 1 if self.elements else 0

    @property
    def distinct(self) -> int:
        """Number of different integers."""
        return int(np.count_nonzero(self._histogram))

    def to_dict(self) -> dict:
        """The figures, ready for JSON."""
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

    #: Columns of `row`.
    HEADER = ("tensor", "operator", "equal", "within 1", "max steps", "top-1", "range", "distinct")

    def row(self) -> tuple[str, ...]:
        """The figures as cells of a table."""
        return (
            self.name,
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
        wrong = int(np.count_nonzero(expected != got))
        self.elements += got.size
        self.max_steps = max(self.max_steps, int(wrong > 0))
        self._equal += got.size - wrong
        self._within_one += got.size - wrong
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
class FloatAgreement:
    """Figures of a tensor that float layers give, beside those of `Agreement`.

    Attributes:
        name: The tensor.
        kind: "FLOAT".
        elements: Number of elements compared.
        largest: Largest magnitude in Keras.
        largest_error: Largest difference.
        promised: Whether it must lie within `FLOAT_TOLERANCE`, in terms of `largest`; nothing is
            promised of what lies behind integers that came from float themselves.
    """

    name: str
    kind: str = "FLOAT"
    elements: int = 0
    largest: float = 0.0
    largest_error: float = 0.0
    promised: bool = True
    _near: int = 0
    _rows: int = 0
    _same_top: int = 0

    def add(self, expected: np.ndarray, got: np.ndarray) -> None:
        """Counts one batch; both float32 and of the same shape."""
        errors = np.abs(expected - got)
        # What is no number in the file is as far away as can be.
        errors = np.where(np.isfinite(errors), errors, np.inf)
        largest = float(np.abs(expected).max(initial=0))
        self.elements += errors.size
        self.largest = max(self.largest, largest)
        self.largest_error = max(self.largest_error, float(errors.max(initial=0)))
        self._near += int(np.count_nonzero(errors <= FLOAT_TOLERANCE * (largest or 1)))
        if got.shape[-1] > 1:
            same = expected.argmax(axis=-1) == got.argmax(axis=-1)
            self._rows += same.size
            self._same_top += int(np.count_nonzero(same))

    @property
    def relative_error(self) -> float:
        """Largest difference in terms of the largest value."""
        return self.largest_error / self.largest if self.largest else self.largest_error

    @property
    def equal(self) -> float:
        """Share of elements within the tolerance, in terms of the largest value of a batch."""
        return self._near / max(self.elements, 1)

    @property
    def top1_agreement(self) -> float | None:
        return self._same_top / self._rows if self._rows else None

    @property
    def differs(self) -> bool:
        """Whether the difference is larger than the tolerance."""
        return self.relative_error > FLOAT_TOLERANCE

    @property
    def breaks(self) -> bool:
        """Whether the difference is larger than promised."""
        return self.promised and self.differs

    @property
    def distance(self) -> str:
        """The largest difference, for people."""
        return f"{self.relative_error:.2g} of its largest value"

    @property
    def allowance(self) -> str:
        """What is promised, for people."""
        return f"{FLOAT_TOLERANCE:g}"

    def to_dict(self) -> dict:
        """The figures, ready for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "elements": self.elements,
            "equal": self.equal,
            "largest": self.largest,
            "largest_error": self.largest_error,
            "relative_error": self.relative_error,
            "top1_agreement": self.top1_agreement,
        }

    def row(self) -> tuple[str, ...]:
        """The figures as cells of a table, under `Agreement.HEADER`."""
        error = f"{self.relative_error:.1e} rel."
        return (
            self.name,
            self.kind,
            share(self.equal),
            "-",
            error,
            share(self.top1_agreement),
            f"±{self.largest:.4g}",
            "-",
        )


def share(value: float | None) -> str:
    """A share in per cent that says 100 only where it is all."""
    if value is None:
        return "-"
    return "100 %" if value == 1 else f"{min(100 * value, 99.9999):.4f} %"
