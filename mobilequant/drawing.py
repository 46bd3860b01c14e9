"""What all drawings share: matplotlib if it is there, files written whole, figures in notebooks."""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path

from mobilequant.writing import written_whole

#: Dots an inch of pixel formats.
DPI = 120

_SUFFIXES = (".png", ".pdf", ".svg")


def check_path(path, suffixes=_SUFFIXES) -> Path:
    """The path of a file that can be written; checked before the work that leads to it.

    Raises:
        ValueError: It has another ending, its folder is missing, or it cannot be written.
        ImportError: It is that of a drawing, and matplotlib is missing.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"{path} cannot be written: there is no folder {folder}.")
    if path.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{path} cannot be written: a folder, or no permission in {folder}.")
    if suffixes is _SUFFIXES:
        require_matplotlib()
    return path


def require_matplotlib() -> None:
    """Raises an ImportError that says what to install where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(
            "Drawing needs matplotlib, which is not installed: pip install 'mobilequant[plots]'."
        )


def figure(**kwargs):
    """A `matplotlib.figure.Figure` that notebooks show, with the layout fitted."""
    from matplotlib.figure import Figure

    class Drawing(Figure):
        # Without pyplot, which keeps figures open and picks a window system, notebooks would
        # not know how to show one.
        def _repr_png_(self):
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=DPI)
            return buffer.getvalue()

    return Drawing(layout="constrained", **kwargs)


def save(drawn, path) -> None:
    """Writes a figure, whole or not at all."""
    with written_whole(path) as temporary:
        drawn.savefig(temporary, dpi=DPI)
