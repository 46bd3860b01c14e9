"""Columns of one height each, as numbers for the page's SVG: no drawing library, any width."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

#: Height of the drawing area in the units of the SVG; its width is the number of columns.
HEIGHT = 100
#: Of the largest value is so much left, so that something small can be seen at all.
_LEAST = 1.0

#: Families of operators that have a colour of their own; what is not listed is "other".
_FAMILIES = {
    "CONV_2D": "conv",
    "TRANSPOSE_CONV": "conv",
    "CONV_3D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "dense",
    "BATCH_MATMUL": "dense",
}
#: Names of the families for people, in the order of the legend.
FAMILIES = {
    "conv": "convolution",
    "depthwise": "depthwise convolution",
    "dense": "matrix product",
    "other": "other operators",
}


@dataclasses.dataclass(frozen=True)
class Bar:
    """One value.

    Attributes:
        name: What it belongs to.
        value: At least 0.
        text: The value for people.
        kind: The operator.
    """

    name: str
    value: float
    text: str
    kind: str = ""

    @property
    def family(self) -> str:
        """A key of `FAMILIES`."""
        return _FAMILIES.get(self.kind, "other")


@dataclasses.dataclass(frozen=True)
class Chart:
    """Values in the order of execution.

    Attributes:
        id: Of the element on the page.
        title: A few words.
        explanation: What a high column means.
        bars: The values.
        top: How many of the largest are listed with their names.
    """

    id: str
    title: str
    explanation: str
    bars: Sequence[Bar]
    top: int = 6

    @property
    def largest(self) -> float:
        """The largest value."""
        return max((bar.value for bar in self.bars), default=0.0)

    @property
    def largest_text(self) -> str:
        """The largest value for people."""
        return max(self.bars, key=lambda bar: bar.value).text if self.bars else ""

    @property
    def listed(self) -> list[Bar]:
        """The largest, in order; none that is 0."""
        order = sorted((bar for bar in self.bars if bar.value > 0), key=lambda bar: -bar.value)
        return order[: self.top]

    @property
    def families(self) -> list[str]:
        """The families that occur, in the order of the legend."""
        found = {bar.family for bar in self.bars if bar.value > 0}
        return [family for family in FAMILIES if family in found]

    def height(self, bar: Bar) -> float:
        """Height of a column, 0 to `HEIGHT`."""
        if not bar.value > 0 or not self.largest:
            return 0.0
        return round(max(HEIGHT * bar.value / self.largest, _LEAST), 2)
