"""The folder in which an interrupted training run waits to go on."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from mobilequant.cli.errors import UsageError

#: Arguments that change nothing about what is trained.
_INDIFFERENT = ("run", "command", "debug", "json", "restart", "output", "monitor")

_SETTINGS = "settings.json"
_METADATA = "training_metadata.json"  # written by keras.callbacks.BackupAndRestore


class Run:
    """One training run, over all its interruptions: `OUTPUT.backup/` and the settings in it.

    Args:
        output: The model that the run will write.
        arguments: The parsed command line.

    Attributes:
        folder: Where `BackupAndRestore` keeps its state.
        begun_at: How many epochs earlier attempts have finished.

    Raises:
        UsageError: An interrupted run with other settings is there, or the folder cannot be
            made.
    """

    def __init__(self, output: Path, arguments):
        self.folder = output.with_name(f"{output.name}.backup")
        self._output, self._closed = output, False
        settings = _settings(arguments)
        if arguments.restart or not self.epoch():
            self._remove()
        if (self.folder / _SETTINGS).is_file():
            self._check(settings)
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UsageError(f"{self.folder} is not a backup of this command; move it away")
        else:
            self._write(settings)
        self.begun_at = self.epoch()

    def epoch(self) -> int:
        """How many epochs are safe in the folder."""
        try:
            return int(json.loads((self.folder / _METADATA).read_text())["epoch"])
        except (OSError, ValueError, KeyError):
            return 0

    def advice(self) -> str:
        """What to tell a user who interrupts."""
        epoch = self.epoch()
        if self._closed:
            return f"{self._output} is written, but was not evaluated"
        if not epoch:
            return "no epoch was finished, nothing is kept"
        return f"the same command goes on after epoch {epoch} (state in {self.folder})"

    def close(self) -> None:
        """The output is safe: removes the folder."""
        self._closed = True
        self._remove()

    def abandon_if_empty(self) -> None:
        """Removes the folder where no epoch was finished: there is nothing to go on from."""
        if not self.epoch():
            self._remove()

    def _remove(self) -> None:
        if (self.folder / _SETTINGS).is_file():  # else it is not one of this command
            shutil.rmtree(self.folder)

    def _write(self, settings: dict) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            (self.folder / _SETTINGS).write_text(json.dumps(settings, indent=2))
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be written: {error.strerror}") from error

    def _check(self, settings: dict) -> None:
        try:
            former = json.loads((self.folder / _SETTINGS).read_text())
        except ValueError:
            former = {}
        settings = json.loads(json.dumps(settings))
        other = [
            f"{_option(key)} was {_shown(former.get(key))}, not {_shown(value)}"
            for key, value in settings.items()
            if former.get(key) != value
        ]
        if other:
            raise UsageError(
                f"{self.folder} holds an interrupted run with other settings "
                f"({'; '.join(other)}): give the same to go on, or --restart to begin anew"
            )


def _settings(arguments) -> dict:
    """All arguments that matter; files by their content, since another may have the same name."""
    settings = {key: value for key, value in vars(arguments).items() if key not in _INDIFFERENT}
    for key in ("model", "weights", "backbone_weights", "class_names"):
        value = settings[key]
        if value and Path(value).is_file():
            digest = hashlib.sha256(Path(value).read_bytes()).hexdigest()
            settings[key] = f"{value} (sha256 {digest[:12]})"
    return settings


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _shown(value) -> str:
    return "not given" if value is None else str(value)
