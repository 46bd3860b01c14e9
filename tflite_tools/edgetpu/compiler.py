"""Runs Edge TPU compiler where it is installed, and reads its log."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import shutil
import subprocess
import tempfile
from typing import Any

_PROGRAM = "edgetpu_compiler"

#: The compiler gives up by itself after 180 seconds.
_TIMEOUT = 240.0

_MAPPED = "Mapped to Edge TPU"

#: A row of its table: operator, count, status.
_ROW = re.compile(r"^([A-Za-z][\w-]*)[ \t]+(\d+)[ \t]+(\S.*?)\s*$", re.MULTILINE)
_VERSION = re.compile(r"^Edge TPU Compiler version (\S+)", re.MULTILINE)
_SUBGRAPHS = re.compile(r"^Number of Edge TPU subgraphs: (\d+)", re.MULTILINE)


class CompilerError(RuntimeError):
    """Edge TPU compiler cannot be run."""


@dataclasses.dataclass(frozen=True)
class Compilation:
    """What the compiler said.

    Attributes:
        log: Its words.
        succeeded: Whether it wrote a file.
        version: Its version; None where the log does not tell.
        subgraphs: How many Edge TPU subgraphs it made; None where the log does not tell.
        mapped: How many operators of each kind it mapped.
        cpu: How many stay on the CPU.
    """

    log: str
    succeeded: bool
    version: str | None
    subgraphs: int | None
    mapped: collections.Counter[str]
    cpu: collections.Counter[str]

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {**vars(self), "mapped": dict(self.mapped), "cpu": dict(self.cpu)}


def find() -> str | None:
    """Where the compiler is; None where it is not installed."""
    return shutil.which(_PROGRAM)


def run(path: str | os.PathLike, timeout: float = _TIMEOUT) -> Compilation:
    """Compiles a file in a temporary folder, and returns what the compiler said.

    Args:
        path: A TFLite file.
        timeout: Seconds after which it is stopped.

    Raises:
        CompilerError: There is no compiler, it cannot be started, or it did not end in time.
    """
    program = find()
    if program is None:
        raise CompilerError(
            f"{_PROGRAM} is not on the path; see https://coral.ai/docs/edgetpu/compiler "
            "(Debian and Ubuntu on x86-64), or plan with compile=False."
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--show_operations", "--out_dir", folder, os.path.abspath(path)]
        try:
            process = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CompilerError(
                f"{path}: {_PROGRAM} did not end within {timeout:.0f} seconds."
            ) from None
        except OSError as error:
            raise CompilerError(f"{program} cannot be started: {error.strerror}.") from error
    return read_log(process.stdout.decode("utf-8", "replace"), process.returncode == 0)


def read_log(log: str, succeeded: bool = True) -> Compilation:
    """Reads what the compiler printed with `--show_operations`.

    Args:
        log: Its words.
        succeeded: Whether it ended without an error.
    """
    mapped: collections.Counter[str] = collections.Counter()
    cpu: collections.Counter[str] = collections.Counter()
    for operator, count, status in _ROW.findall(log):
        (mapped if status.startswith(_MAPPED) else cpu)[operator] += int(count)
    version, subgraphs = _VERSION.search(log), _SUBGRAPHS.search(log)
    return Compilation(
        log=log,
        succeeded=succeeded,
        version=version and version[1],
        subgraphs=subgraphs and int(subgraphs[1]),
        mapped=mapped,
        cpu=cpu,
    )
