"""Times and memory of `.tflite` files on this machine, several of them in turn in one run.

Each file runs in a process of its own: its memory is then its own, and a file that LiteRT does not
survive is an error like any other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer, profiling
from tflite_tools.arena import activation_memory
from tflite_tools.benchmark_report import Benchmark, Latency
from tflite_tools.child import Child
from tflite_tools.interpreter import Port

#: Runs of one file in a row before the next file's turn: the machine's slow and fast minutes
#: then fall on all of them, and each still runs with warm caches.
_TURN = 10

#: Names of runtimes, by the kernels of `tflite_tools.interpreter`.
RUNTIMES = {"default": "XNNPACK", "builtin": "built-in kernels"}

#: The custom operator of files for the Edge TPU, and the library that runs it.
_EDGETPU_OPERATOR, _EDGETPU_LIBRARY = "edgetpu-custom-op", "libedgetpu.so.1"


def benchmark(
    *paths: str | os.PathLike,
    threads: int = 1,
    runs: int = 100,
    warmup: int = 10,
    xnnpack: bool | str = True,
    delegate: str | None = None,
    images=None,
    profile: bool = False,
) -> Benchmark:
    """Measures one inference of each file, batch as in the file, on this machine.

    Args:
        paths: One file or several; they take turns, so that one run compares them.
        threads: Number of CPU threads.
        runs: Timed runs of each file.
        warmup: Runs of each file before these; the first one is timed on its own.
        xnnpack: True for what an app runs, False for LiteRT's built-in kernels, "both" for both
            in turn.
        delegate: A shared library with a LiteRT delegate for all files. A file compiled for the
            Edge TPU gets "libedgetpu.so.1" of itself.
        images: Real values for the inputs: an array, with several inputs a list of arrays or a
            dict of them by the inputs' names; the first batch of them is taken. By default random
            ones. What a convolution takes does not depend on them; what a detector's
            post-processing takes does.
        profile: Whether to measure every operator as well, in runs of their own.

    Raises:
        InvalidModelError: A file cannot be read, is no TFLite model, or ends LiteRT's process.
        ValueError: A number is out of range, there is no path, the images do not fit, LiteRT
            cannot run a file, or a delegate cannot be loaded.
    """
    check(paths, threads, runs, warmup, xnnpack)
    files = [read(path) for path in paths]
    lanes = [
        (file, kernels, _delegate(file.model) if delegate is None else delegate)
        for file in files
        for kernels in kernels_of(xnnpack)
    ]
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        children, feeds = [], []
        for file, kernels, library in lanes:
            child = stack.enter_context(_start(file, threads, kernels, library))
            values = [_values(file.path, p, images, i) for i, p in enumerate(child.inputs)]
            child.feed(values)
            children.append(child)
            feeds.append(values)
        firsts = [child.run(1)[0] for child in children]
        for child in children:
            child.run(max(0, warmup - 1))
        times = _in_turn(children, runs)
        entries = [
            _latency(file, library or RUNTIMES[kernels], child, first, measured)
            for (file, kernels, library), child, first, measured in zip(
                lanes, children, firsts, times, strict=True
            )
        ]
    if profile:
        for i, ((file, kernels, library), values) in enumerate(zip(lanes, feeds, strict=True)):
            found = _profile(file, values, threads, kernels, library, notes)
            entries[i] = dataclasses.replace(entries[i], operators=found)
    return Benchmark(entries, threads, xnnpack, "this machine's CPU", "; ".join(notes) or None)


def check(paths, threads: int, runs: int, warmup: int, xnnpack) -> None:
    """Checks the arguments that all benchmarks have.

    Raises:
        ValueError: There is no path, or a number or `xnnpack` is out of range.
    """
    if not paths:
        raise ValueError("There is no file to measure.")
    for name, value, least in (("threads", threads, 1), ("runs", runs, 1), ("warmup", warmup, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    if xnnpack not in (True, False, "both"):
        raise ValueError(f'xnnpack must be True, False or "both", got {xnnpack!r}.')


def kernels_of(xnnpack: bool | str) -> list[str]:
    """Keys of `RUNTIMES` for what is asked for."""
    return {True: ["default"], False: ["builtin"], "both": ["default", "builtin"]}[xnnpack]


@dataclasses.dataclass(frozen=True)
class File:
    """A file that may be handed to LiteRT.

    Attributes:
        path: As messages name it.
        size: Its bytes.
        model: Parsed.
    """

    path: str
    size: int
    model: schema.ModelT

    @property
    def arena(self) -> int | None:
        """As in `Latency`."""
        return activation_memory(self.model, self.model.subgraphs[0]).arena


def read(path: str | os.PathLike) -> File:
    """Reads and checks a file.

    Raises:
        InvalidModelError: It cannot be read, or is no sound TFLite model.
    """
    data = flatbuffer.read_bytes(path)
    return File(os.fspath(path), len(data), flatbuffer.parse(data, path))


def _delegate(model: schema.ModelT) -> str | None:
    """The library that a file cannot do without."""
    custom = {flatbuffer.text(code.customCode) for code in model.operatorCodes}
    return _EDGETPU_LIBRARY if _EDGETPU_OPERATOR in custom else None


def _start(file: File, threads: int, kernels: str, library: str | None) -> Child:
    try:
        return Child(file.path, file.model, threads=threads, kernels=kernels, delegate=library)
    except ValueError as error:
        if library != _EDGETPU_LIBRARY:
            raise
        raise ValueError(
            f"{file.path} holds {_EDGETPU_OPERATOR} and needs {library}, Coral's runtime for the "
            f"Edge TPU, and one of these: {error}"
        ) from error


def _in_turn(children: Sequence[Child], runs: int) -> list[list[float]]:
    """Seconds of each child's timed runs."""
    times: list[list[float]] = [[] for _ in children]
    while len(times[-1]) < runs:
        for child, measured in zip(children, times, strict=True):
            if len(children) > 1:
                child.run(1)  # the caches are another file's
            measured += child.run(min(_TURN, runs - len(measured)))
    return times


def _profile(file: File, values, threads: int, kernels: str, library: str | None, notes: list):
    """The times of all operators, or None with a note that says why."""
    if library is not None:
        notes.append(f"{file.path}: delegates are not profiled")
        return None
    try:
        return profiling.profile(file.path, file.model, values, threads=threads, kernels=kernels)
    except RuntimeError as error:
        notes.append(f"{file.path}: LiteRT's profiler: {error}")
        return None


def _values(path, port: Port, images, place: int) -> np.ndarray:
    if images is None:
        return _random(port)
    try:
        given = images[port.name] if isinstance(images, Mapping) else images
    except KeyError:
        raise ValueError(f"{path}: there are no images for the input {port.name!r}.") from None
    if isinstance(images, (list, tuple)):
        if place >= len(images):
            raise ValueError(f"{path}: there are no images for the input {port.name!r}.")
        given = images[place]
    given = np.asarray(given)
    if given.shape[1:] != port.shape[1:] or len(given) < port.shape[0]:
        raise ValueError(
            f"{path}: input {port.name!r} takes {port.shape}, the images are {given.shape}."
        )
    return port.quantize(given[: port.shape[0]])


def _random(port: Port) -> np.ndarray:
    random = np.random.default_rng(0)
    if np.issubdtype(port.dtype, np.floating):
        return random.uniform(-1, 1, port.shape).astype(port.dtype)
    if port.scale is not None or port.dtype.itemsize == 1 and port.dtype != np.bool_:
        limits = np.iinfo(port.dtype)
        return random.integers(limits.min, limits.max, port.shape, port.dtype, endpoint=True)
    return np.zeros(port.shape, port.dtype)  # indices, lengths: a large one may be out of range


def _latency(file: File, runtime: str, child: Child, first: float, seconds: list[float]) -> Latency:
    times = 1000 * np.array(seconds)
    low, median, high = (float(np.percentile(times, share)) for share in (10, 50, 90))
    return Latency(
        path=file.path,
        size=file.size,
        runtime=runtime,
        median=median,
        mean=float(times.mean()),
        minimum=float(times.min()),
        low=low,
        high=high,
        runs=len(times),
        load=1000 * child.load_seconds,
        first=1000 * first,
        memory=child.memory,
        memory_added=child.memory - child.memory_before,
        arena=file.arena,
    )
