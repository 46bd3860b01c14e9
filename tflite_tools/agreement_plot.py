"""Draws how far tensors agree: what each one holds, and how far it lies off.

Of a sound file all agree, so that a plot of differences would be empty. The bars therefore show
the integers that a tensor takes, which says how much the agreement is worth: a tensor that sits at
one integer agrees with anything, and one that uses 20 of its 256 codes has a range that is too
wide. What differs is red and says by how much.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from mobilequant import drawing
from tflite_tools.agreement import Agreement, FloatAgreement, IndexAgreement
from tflite_tools.figures import Figures, short

#: Inches: width, height of a row, and of what stands above and below the rows. So narrow that a
#: phone shows it without scrolling sideways.
_WIDTH, _ROW, _REST = 5.2, 0.17, 1.15

_SAME, _OFF, _QUIET = "C0", "C3", "0.35"

#: Where the words of a row begin, right of the codes from -128 to 127.
_WORDS = 136

_CODES = (-128, 127)

#: Of a tensor's name.
_LETTERS = 34


def draw(figures: Sequence[Figures], title: str, path: str | os.PathLike | None = None):
    """Draws a row for each tensor, in the order of computation.

    Args:
        figures: Of the tensors, at least one.
        title: Above the rows.
        path: File to write; by default nothing is written.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: The path cannot be written.
    """
    if path is not None:
        path = drawing.check_path(path)
    drawing.require_matplotlib()
    figure = drawing.figure(figsize=(_WIDTH, _REST + _ROW * max(len(figures), 4)))
    axis = figure.subplots()
    for place, each in enumerate(figures):
        _row(axis, place, each)
    names = [short(each.name, _LETTERS) for each in figures]
    axis.set_yticks(range(len(figures)), names, fontsize=7)
    axis.set_ylim(len(figures) - 0.4, -0.6)
    off = sum(each.differs for each in figures)
    axis.set_xlim(_CODES[0] - 4, _WORDS + (154 if off else 44))
    axis.set_xticks([-128, -64, 0, 64, 127])
    axis.tick_params(axis="x", labelsize=7)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("integers that occur, and how many different ones", fontsize=8, loc="left")
    verdict = f"{off} of {len(figures)} tensors differ" if off else "every tensor agrees"
    figure.suptitle(f"{title}: {verdict}", fontsize=9)
    if path is not None:
        drawing.save(figure, path)
    return figure


def _row(axis, place: int, figures: Figures) -> None:
    colour = _OFF if figures.differs else _SAME
    holds = "float"
    if isinstance(figures, IndexAgreement):
        holds = f"{figures.distinct} indices"
    elif isinstance(figures, Agreement):
        # int16 is drawn to the scale of int8.
        unit = max(1, 2 ** (figures.bits - 8))
        low, high = figures.smallest / unit, figures.largest / unit
        axis.barh(place, high - low + 1, left=low - 0.5, height=0.78, color=colour)
        holds = str(figures.distinct)
    words = holds
    if figures.differs:
        words = f"{holds}; {_distance(figures)}"
    axis.text(
        _WORDS, place, words, va="center", fontsize=6, color=_OFF if figures.differs else _QUIET
    )


def _distance(figures: Figures) -> str:
    equal = f"{100 * figures.equal:.3g} % equal"
    if isinstance(figures, FloatAgreement):
        return f"{figures.relative_error:.0e} off"
    if isinstance(figures, IndexAgreement):
        return equal
    return f"{figures.distance}, {equal}"
