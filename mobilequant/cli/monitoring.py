"""What `mobilequant train --monitor DIR` keeps in DIR."""

from __future__ import annotations

from pathlib import Path

from mobilequant.cli import console
from mobilequant.training import QuantizationMonitor

#: Looks in a run, unless they would lie more than so many steps apart.
_LOOKS, _MOST_STEPS = 100, 100


class Monitoring:
    """A `QuantizationMonitor` and its folder: TensorBoard's logs, the figures, the drawing.

    Args:
        folder: Is made if need be.
        steps: Training steps of the whole run.

    Raises:
        ValueError: The folder cannot be written.
    """

    def __init__(self, folder: str, steps: int):
        every = min(max(steps // _LOOKS, 1), _MOST_STEPS)
        self.callback = QuantizationMonitor(log_dir=folder, every=every)
        self._figures = Path(folder) / "quantization.json"
        self._drawing = Path(folder) / "quantization.png"

    def go_on(self) -> None:
        """Takes up the figures of the run that is resumed."""
        if self._figures.is_file():
            self.callback.restore(self._figures)

    def write(self) -> None:
        """Writes what was seen so far, after an interruption as well."""
        if not self.callback.history["steps"]:
            return
        self.callback.save(self._figures)
        try:
            self.callback.plot(self._drawing)
        except ImportError as error:
            console.note(f"{self._drawing} was not drawn: {error}")
