"""Training progress: a bar in a terminal, one plain line an epoch anywhere else."""

from __future__ import annotations

import time

import keras
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mobilequant.cli.console import percent, progress_console


class FitProgress(keras.callbacks.Callback):
    """Shows the progress of `fit` on stderr, whatever its `verbose` is.

    Args:
        indent: Put before every line.
    """

    def __init__(self, indent: str = ""):
        super().__init__()
        self._indent = indent
        self._console = progress_console()
        self._bar = None
        self._begun = self._epochs_begun = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.monotonic()
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn(f"{self._indent}epoch {epoch + 1}/{self.params['epochs']}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=self.params["steps"])
        self._bar.start()

    def on_train_batch_end(self, batch, logs=None):
        if self._bar:
            self._bar.update(self._task, completed=batch + 1, description=_figures(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.close()
        seconds = time.monotonic() - self._begun
        self._console.print(
            f"{self._indent}epoch {epoch + 1}/{self.params['epochs']}: {_figures(logs)}, "
            f"{seconds:.0f} s"
        )

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Removes the bar; also needed where `fit` was interrupted."""
        if self._bar:
            self._bar.stop()
            self._bar = None


#: What Keras logs, and what it is called.
_NAMES = {
    "loss": "loss",
    "accuracy": "accuracy",
    "mean_iou": "mean IoU",
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "val_mean_iou": "validation mean IoU",
}


def _figures(logs) -> str:
    logs = dict(logs or {})
    if "val_accuracy" in logs or "val_mean_iou" in logs:
        logs.pop("val_loss", None)  # it is told where there is nothing better
    return ", ".join(
        f"{name} {f'{float(logs[key]):.3f}' if 'loss' in key else percent(float(logs[key]))}"
        for key, name in _NAMES.items()
        if key in logs
    )
