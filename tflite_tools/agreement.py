"""How far two lots of integers lie from each other, gathered batch by batch."""

from __future__ import annotations

import dataclasses

import numpy as np

_CODES = 256  # of int8


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
    """

    name: str
    kind: str = ""
    elements: int = 0
    max_steps: int = 0
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


def share(value: float | None) -> str:
    """A share in per cent that says 100 only where it is all."""
    if value is None:
        return "-"
    return "100 %" if value == 1 else f"{min(100 * value, 99.9999):.4f} %"
