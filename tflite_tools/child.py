"""LiteRT in a process of its own.

LiteRT trusts the files that it reads: one that `flatbuffer.parse` lets pass may still hold an
operator whose kernel divides by a zero in its options, and that ends the process, or a loop that
never ends. In a child it is the child that ends, and the caller gets an error that names the file.
The child's memory is that of the file alone, so that it can be measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import costs
from tflite_tools.errors import InvalidModelError
from tflite_tools.interpreter import Port, resolver

_WORKER = Path(__file__).with_name("_worker.py")

#: Seconds for loading any file, or for running it once, before it counts as one that never ends.
#: More where there is more to compute: the slowest kernels take so many multiply-adds a second on
#: a slow and busy machine.
PATIENCE = 60
_MULTIPLY_ADDS_PER_SECOND = 20_000_000
_MOST_PATIENCE = 3600


class Child:
    """A process that has loaded a file; a context manager, which ends it.

    Args:
        path: A file that has passed `flatbuffer.parse`.
        model: The same, parsed.
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
        InvalidModelError: LiteRT ended the child's process, or did not come to an end.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        model: schema.ModelT,
        *,
        name: str | os.PathLike | None = None,
        threads: int = 1,
        kernels: str = "default",
        delegate: str | None = None,
    ):
        self._name = os.fspath(path if name is None else name)
        self._patience = _patience(model)
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
        reply = self._ask({"runs": count}, max(1, count))
        self.memory = int(reply["memory"])
        return reply["seconds"]

    def _ask(self, command: dict, runs: int = 1) -> dict:
        # Where nobody listens any more, the answer, or that there is none, tells why.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer(runs)

    def _answer(self, runs: int = 1) -> dict:
        seconds, late = runs * self._patience, threading.Event()
        line = self._line(seconds, late)
        if late.is_set():
            raise InvalidModelError(
                f"{self._name}: LiteRT gave no answer within {seconds:.0f} s of reading or running "
                "it; it may hold a loop that never ends"
            )
        if not line:
            raise InvalidModelError(f"{self._name}: {self._last_words()}")
        reply = json.loads(line)
        if "error" in reply:
            raise ValueError(f"{self._name}: LiteRT cannot run it: {reply['error']}")
        return reply

    def _line(self, seconds: float, late: threading.Event) -> str:
        """What the child says; "" where it ends, which it does after so many seconds."""

        def end():
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            return self._process.stdout.readline()
        finally:
            timer.cancel()

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
    path: str | os.PathLike,
    model: schema.ModelT,
    kernels: str = "default",
    data: bytes | None = None,
) -> None:
    """Runs a file once on zeros in a child, before it is let into this process.

    Args:
        path: A file that has passed `flatbuffer.parse`.
        model: The same, parsed.
        kernels: A key of `tflite_tools.interpreter.KERNELS`.
        data: Its content, where that is not what is at `path`, which then only names it.

    Raises:
        ValueError: LiteRT cannot load it.
        InvalidModelError: LiteRT ends the process that loads or runs it, or never comes to an end.
    """
    with contextlib.ExitStack() as stack:
        if data is not None:
            file = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".tflite"))
            file.write(data)
            file.flush()
        child = Child(path if data is None else file.name, model, name=path, kernels=kernels)
        stack.enter_context(child)
        try:
            child.feed([np.zeros(port.shape, port.dtype) for port in child.inputs])
            child.run(1)
        except InvalidModelError:
            raise
        except ValueError:
            pass  # zeros may be what it cannot take: it may divide by them


def _patience(model: schema.ModelT) -> float:
    """Seconds for one answer."""
    work = sum(
        count or 0 for subgraph in model.subgraphs for count in costs.multiply_adds(model, subgraph)
    )
    return min(PATIENCE + work / _MULTIPLY_ADDS_PER_SECOND, _MOST_PATIENCE)


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
