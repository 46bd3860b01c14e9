"""Latency of `.tflite` files on this machine's CPU, several of them in turn in one run."""

from __future__ import annotations

import dataclasses
import os
import time

import numpy as np

from tflite_tools import flatbuffer
from tflite_tools.interpreter import Interpreter
from tflite_tools.tables import table

#: Runs of one file in a row before the next file's turn: the machine's slow and fast minutes
#: then fall on all of them, and each still runs with warm caches.
_TURN = 10


@dataclasses.dataclass(frozen=True)
class Latency:
    """Latency of one file, in milliseconds.

    Attributes:
        path: The file.
        size: Its bytes.
        median, mean, minimum: Over all timed runs.
        low, high: The 10th and the 90th percentile.
        runs: Number of timed runs.
    """

    path: str
    size: int
    median: float
    mean: float
    minimum: float
    low: float
    high: float
    runs: int


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What `benchmark` measured.

    Attributes:
        files: One entry for each path, in the order given.
        threads: Number of CPU threads.
        xnnpack: Whether XNNPACK ran.
    """

    files: list[Latency]
    threads: int
    xnnpack: bool

    def to_dict(self) -> dict:
        """The same, ready for JSON."""
        return dataclasses.asdict(self)

    def __str__(self):
        kernels = "XNNPACK" if self.xnnpack else "built-in kernels"
        rows = [
            (f.path, f"{f.size:,}", f"{f.median:.3f}", f"{f.low:.3f} to {f.high:.3f}", str(f.runs))
            for f in self.files
        ]
        return "\n".join(
            [
                f"CPU, {self.threads} thread{'s' if self.threads > 1 else ''}, {kernels}",
                table(("file", "bytes", "median ms", "10 to 90 %", "runs"), rows),
            ]
        )


def benchmark(
    *paths: str | os.PathLike,
    threads: int = 1,
    runs: int = 100,
    warmup: int = 10,
    xnnpack: bool = True,
) -> Benchmark:
    """Measures the latency of one inference, batch as in the file, input random.

    Args:
        paths: One file or several; they take turns, so that one run compares them.
        threads: Number of CPU threads.
        runs: Timed runs of each file.
        warmup: Runs of each file before these.
        xnnpack: Whether to run what an app runs; otherwise LiteRT's built-in kernels.

    Raises:
        InvalidModelError: A file cannot be read or is no TFLite model.
        ValueError: A number is out of range, there is no path, or LiteRT cannot run a file (it
            holds an operator for an accelerator, for example).
    """
    if not paths:
        raise ValueError("There is no file to measure.")
    for name, value, least in (("threads", threads, 1), ("runs", runs, 1), ("warmup", warmup, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    contents = [flatbuffer.read_bytes(path) for path in paths]
    kernels = "default" if xnnpack else "builtin"
    models = [
        _load(data, path, threads, kernels) for data, path in zip(contents, paths, strict=True)
    ]
    for model in models:
        _time(model, warmup)
    times: list[list[float]] = [[] for _ in paths]
    while len(times[-1]) < runs:
        for model, measured in zip(models, times, strict=True):
            _time(model, 1)
            measured += _time(model, min(_TURN, runs - len(measured)))
    files = [
        _latency(os.fspath(path), len(data), measured)
        for path, data, measured in zip(paths, contents, times, strict=True)
    ]
    return Benchmark(files, threads, xnnpack)


def _load(data: bytes, path, threads: int, kernels: str) -> Interpreter:
    flatbuffer.parse(data, path)
    try:
        model = Interpreter(data, threads=threads, kernels=kernels)
        model.load(*(_random_input(port) for port in model.inputs))
    except RuntimeError as error:
        raise ValueError(f"{path}: LiteRT cannot run it on the CPU: {error}") from error
    return model


def _random_input(port) -> np.ndarray:
    random = np.random.default_rng(0)
    if np.issubdtype(port.dtype, np.integer):
        limits = np.iinfo(port.dtype)
        return random.integers(limits.min, limits.max, port.shape, port.dtype, endpoint=True)
    return random.uniform(-1, 1, port.shape).astype(port.dtype)


def _time(model: Interpreter, runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        model.invoke()
        times.append(1000 * (time.perf_counter() - started))
    return times


def _latency(path: str, size: int, times: list[float]) -> Latency:
    low, median, high = (float(np.percentile(times, share)) for share in (10, 50, 90))
    return Latency(
        path=path,
        size=size,
        median=median,
        mean=float(np.mean(times)),
        minimum=min(times),
        low=low,
        high=high,
        runs=len(times),
    )
