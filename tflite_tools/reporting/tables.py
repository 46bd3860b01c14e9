"""Tables of the page: cells that know what they are sorted by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

#: Of a cell that has nothing to show.
NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: What is shown.
        value: What the column is sorted by; None sorts it behind all others.
        tone: "", "good", "bad" or "muted".
    """

    text: str
    value: float | str | None = None
    tone: str = ""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: Its heading.
        numeric: Whether it is set to the right and begins with the largest when it is sorted.
    """

    name: str
    numeric: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that a click sorts.

    Attributes:
        id: Of the element on the page.
        caption: What is in it.
        columns: From left to right; the first one names the row.
        rows: As many cells as columns each.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def word(text: str, tone: str = "") -> Cell:
    """A cell that is sorted by its text."""
    return Cell(text or NOTHING, text or None, tone)


def number(value: float | None, text: str | None = None, tone: str = "") -> Cell:
    """A cell that is sorted by its number.

    Args:
        value: None where there is none.
        text: What is shown; by default the number with thousands set apart.
        tone: As in `Cell`.
    """
    if value is None:
        return Cell(NOTHING, None, tone or "muted")
    return Cell(f"{value:,}" if text is None else text, value, tone)
