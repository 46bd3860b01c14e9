"""LiteRT in a process of its own.

LiteRT trusts the files that it reads: one that `flatbuffer.parse` lets pass may still hold an
operator whose kernel divides by a zero in its options, and that ends the process. In a child it is
the child that ends, and the caller gets an error that names the file. The child's memory is that of
the file alone, so that it can be measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tflite_tools.errors import InvalidModelError
from tflite_tools.interpreter import Port, resolver

_WORKER = Path(__file__).with_name("_worker.py")


class Child:
    """A process that has loaded a file; a context manager, which ends it.

    Args:
        path: A file that has passed `flatbuffer.parse`.
        name: What messages call it, where not by its path.
        threads: Number of CPU threads.
        kernels: A key of `tflite_tools.interpreter.KERNELS`.
        delegate: A shared library with a LiteRT delegate, such as "libedgetpu.so.1".

    Attributes:
        inputs: The file's inputs.
        load_seconds: What reading it and allocating its tensors took.
        memory: The most memory that the process has held so far, in bytes.
        memory_before: What it held before it read the file, LiteRT and NumPy.

    Raises:
        ValueError: LiteRT cannot run the file, or the delegate cannot be loaded.
        InvalidModelError: LiteRT ended the child's process.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        name: str | os.PathLike | None = None,
        threads: int = 1,
        kernels: str = "default",
        delegate: str | None = None,
    ):
        self._name = os.fspath(path if name is None else name)
        options = {
            "path": os.path.abspath(path),
            "threads": threads,
            "resolver": resolver(kernels).name,
            "delegate": delegate,
        }
        self._notes = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._process = subprocess.Popen(
            # -P: the folder of the script holds modules that are none of its business.
            [sys.executable, "-P", str(_WORKER), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._notes,
            text=True,
        )
        try:
            facts = self._answer()
        except BaseException:
            self.close()
            raise
        self.inputs = [_port(fields) for fields in facts["inputs"]]
        self.load_seconds: float = facts["seconds"]
        self.memory = self.memory_before = int(facts["memory_before"])

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._notes.close()

    def feed(self, arrays: Sequence[np.ndarray]) -> None:
        """Sets the inputs, of the file's types and shapes."""
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "inputs.npz")
            np.savez(file, *arrays)
            self._ask({"inputs": file})

    def run(self, count: int) -> list[float]:
        """Runs the file so many times, and says how many seconds each run took."""
        reply = self._ask({"runs": count})
        self.memory = int(reply["memory"])
        return reply["seconds"]

    def _ask(self, command: dict) -> dict:
        # Where nobody listens any more, the answer, or that there is none, tells why.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise InvalidModelError(f"{self._name}: {self._last_words()}")
        reply = json.loads(line)
        if "error" in reply:
            raise ValueError(f"{self._name}: LiteRT cannot run it: {reply['error']}")
        return reply

    def _last_words(self) -> str:
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        self._notes.seek(0)
        lines = self._notes.read().decode("utf-8", "replace").splitlines()
        notes = [line for line in lines if line.strip() and not line.startswith("INFO")]
        said = f"; it said: {notes[-1][:300]}" if notes else ""
        return (
            f"LiteRT ends the process that reads or runs it ({how}); the file is broken, though "
            f"its structure is sound{said}"
        )


def require_runnable(
    path: str | os.PathLike, kernels: str = "default", data: bytes | None = None
) -> None:
    """Runs a file once on zeros in a child, before it is let into this process.

    Args:
        path: A file that has passed `flatbuffer.parse`.
        kernels: A key of `tflite_tools.interpreter.KERNELS`.
        data: Its content, where that is not what is at `path`, which then only names it.

    Raises:
        ValueError: LiteRT cannot load it.
        InvalidModelError: LiteRT ends the process that loads or runs it.
    """
    with contextlib.ExitStack() as stack:
        if data is not None:
            file = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".tflite"))
            file.write(data)
            file.flush()
        child = Child(path if data is None else file.name, name=path, kernels=kernels)
        stack.enter_context(child)
        try:
            child.feed([np.zeros(port.shape, port.dtype) for port in child.inputs])
            child.run(1)
        except InvalidModelError:
            raise
        except ValueError:
            pass  # zeros may be what it cannot take: it may divide by them


def _port(fields: dict) -> Port:
    scale = fields["scale"]
    return Port(
        name=fields["name"],
        index=fields["index"],
        shape=tuple(fields["shape"]),
        dtype=np.dtype(fields["dtype"]),
        scale=None if scale is None else np.float32(scale),
        zero_point=fields["zero_point"],
    )
