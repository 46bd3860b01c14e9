"""What figures of any two tensors have in common, and how they are told to people."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np

from tflite_tools.tables import shorten


@dataclasses.dataclass
class Figures(abc.ABC):
    """What integers and floats have in common: how often two tensors say the same.

    Attributes:
        name: The tensor.
        kind: The operator that computes it.
        elements: Number of elements compared.
    """

    name: str
    kind: str = ""
    elements: int = 0
    _equal: int = 0
    _rows: int = 0
    _same_top: int = 0

    @abc.abstractmethod
    def add(self, expected: np.ndarray, got: np.ndarray) -> None:
        """Counts one batch; both of the same type and shape."""

    def _count(self, equal: np.ndarray, expected: np.ndarray, got: np.ndarray) -> None:
        """Counts what is equal, element by element, and where rows have their largest one."""
        self.elements += equal.size
        self._equal += int(np.count_nonzero(equal))
        if got.ndim and got.shape[-1] > 1:
            same = expected.argmax(axis=-1) == got.argmax(axis=-1)
            self._rows += same.size
            self._same_top += int(np.count_nonzero(same))

    @property
    def equal(self) -> float:
        """Share of elements that are equal; of floats, within `FLOAT_TOLERANCE`."""
        return self._equal / max(self.elements, 1)

    @property
    def top1_agreement(self) -> float | None:
        """Share of rows (along the last axis) with the largest element at the same place.

        None where the last axis has one element.
        """
        return self._same_top / self._rows if self._rows else None

    @property
    @abc.abstractmethod
    def differs(self) -> bool:
        """Whether there is a difference; of floats, one larger than the tolerance."""

    @property
    @abc.abstractmethod
    def breaks(self) -> bool:
        """Whether the difference is larger than promised."""

    @property
    @abc.abstractmethod
    def distance(self) -> str:
        """The largest difference, for people."""

    @property
    @abc.abstractmethod
    def allowance(self) -> str:
        """What is promised, for people."""

    @abc.abstractmethod
    def to_dict(self) -> dict:
        """The figures, ready for JSON."""

    @abc.abstractmethod
    def row(self) -> tuple[str, ...]:
        """The figures as cells of a table, under `HEADER`."""

    #: Columns of `row`.
    HEADER = ("tensor", "operator", "equal", "within 1", "max steps", "top-1", "range", "distinct")


def mean(figures: Sequence[Figures], name: str = "equal") -> float:
    """The mean of a share over all elements of several tensors; 1 where there are none."""
    elements = sum(each.elements for each in figures)
    if not elements:
        return 1.0
    return sum(getattr(each, name) * each.elements for each in figures) / elements


def short(name: str, most: int = 40) -> str:
    """A tensor's name, for tables.

    Other converters name a tensor by all the layers that they fused into it, one path each: the
    first is the one that people know.
    """
    return shorten(name.split(";")[0], most)


def share(value: float | None) -> str:
    """A share in per cent that says 100 only where it is all."""
    if value is None:
        return "-"
    return "100 %" if value == 1 else f"{min(100 * value, 99.9999):.4f} %"
