"""LiteRT's own `benchmark_model`, on a phone through adb or on this machine.

It is a program of the LiteRT project, built for each kind of device; users bring it along:
https://ai.google.dev/edge/litert/models/measurement.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tflite_tools.benchmark_output import parse_profile, parse_timings
from tflite_tools.benchmark_report import Benchmark, Latency
from tflite_tools.benchmarking import RUNTIMES, File, check, kernels_of, read

#: Where anything may be written and run on an Android device.
_FOLDER = "/data/local/tmp"

#: Seconds after which a device is taken to hang.
_LIMIT = 600


def benchmark_on_device(
    *paths: str | os.PathLike,
    binary: str | os.PathLike,
    adb: bool = True,
    serial: str | None = None,
    threads: int = 1,
    runs: int = 100,
    warmup: int = 10,
    xnnpack: bool | str = True,
    profile: bool = False,
) -> Benchmark:
    """Measures each file with LiteRT's `benchmark_model`, input random, one file after the other.

    Args:
        paths: One file or several.
        binary: `benchmark_model`, built for the device.
        adb: Whether it runs on an Android device that `adb` knows; else on this machine.
        serial: Which one, where several are attached.
        threads: Number of CPU threads.
        runs: Timed runs of each file, at least; it goes on for a second.
        warmup: Runs of each file before these, at least; it goes on for half a second.
        xnnpack: As in `benchmark`.
        profile: Whether to run each file once more with the profiler on, which costs time itself
            and is therefore not part of the other figures.

    Raises:
        InvalidModelError: A file cannot be read or is no TFLite model.
        ValueError: A number is out of range, adb or the device is missing, or the program fails on
            a file or prints something else than it should.
    """
    check(paths, threads, runs, warmup, xnnpack)
    sources = [read(path) for path in paths]
    if not Path(binary).is_file():
        raise ValueError(f"{binary}: there is no such file; it must be LiteRT's benchmark_model.")
    options = [f"--num_threads={threads}", f"--num_runs={runs}", f"--warmup_runs={warmup}"]
    files = []
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(_Phone(binary, serial) if adb else _Here(binary))
        for file in sources:
            there = device.bring(file.path)
            for kernels in kernels_of(xnnpack):
                use = f"--use_xnnpack={'true' if kernels == 'default' else 'false'}"
                words = [f"--graph={there}", use, *options]
                latency = _latency(file, RUNTIMES[kernels], device.run(file.path, words))
                if profile:
                    output = device.run(file.path, [*words, "--enable_op_profiling=true"])
                    found = parse_profile(output) or None
                    latency = dataclasses.replace(latency, operators=found)
                files.append(latency)
    missing = profile and not all(entry.operators for entry in files)
    note = f"{binary} printed none" if missing else None
    return Benchmark(files, threads, xnnpack, device.name, note)


def _latency(file: File, runtime: str, output: str) -> Latency:
    try:
        timings = parse_timings(output)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from error
    return Latency(
        path=file.path,
        size=file.size,
        runtime=runtime,
        arena=file.arena,
        **dataclasses.asdict(timings),
    )


class _Here:
    """This machine; a context manager.

    Args:
        binary: The program.

    Attributes:
        name: What a report calls it.
    """

    name = "this machine, benchmark_model"

    def __init__(self, binary):
        self._binary = os.path.abspath(binary)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def bring(self, path) -> str:
        """Where the device has a file."""
        return os.path.abspath(path)

    def run(self, path, words: Sequence[str]) -> str:
        """What the program prints.

        Raises:
            ValueError: It fails; the message names the file at `path`.
        """
        return _output([self._binary, *words], path)


class _Phone(_Here):
    """An Android device with a folder of our own on it, which goes at the end.

    Args:
        binary: The program.
        serial: Of the device, or None for the only one.

    Raises:
        ValueError: adb is missing, or there is no such device, or it does not let us.
    """

    def __init__(self, binary, serial: str | None):
        super().__init__(binary)
        if shutil.which("adb") is None:
            raise ValueError(
                "adb is not installed or not on the PATH: it comes with the Android SDK "
                "platform tools."
            )
        self._adb = ["adb", "-s", _choose(_devices(), serial)]
        self._folder = f"{_FOLDER}/mobilequant-{secrets.token_hex(4)}"
        self._count = 0

    def __enter__(self):
        model = self._shell("getprop ro.product.model").strip()
        self.name = f"{model or 'Android device'} ({self._adb[-1]}), benchmark_model"
        self._shell(f"mkdir -p {self._folder}")
        try:
            self._program = self._push(self._binary, "benchmark_model")
            self._shell(f"chmod 755 {self._program}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ValueError):  # the device may be gone
            self._shell(f"rm -rf {self._folder}")

    def bring(self, path) -> str:
        self._count += 1
        return self._push(os.path.abspath(path), f"{self._count}.tflite")

    def run(self, path, words: Sequence[str]) -> str:
        line = shlex.join([self._program, *words])
        return _output([*self._adb, "shell", line], path)

    def _push(self, source: str, name: str) -> str:
        target = f"{self._folder}/{name}"
        _output([*self._adb, "push", source, target], source)
        return target

    def _shell(self, line: str) -> str:
        return _output([*self._adb, "shell", line], "adb")


def _devices() -> dict[str, str]:
    """The states of attached devices by their serial numbers."""
    lines = _output(["adb", "devices"], "adb").splitlines()
    rows = [line.split() for line in lines if "\t" in line]
    return {row[0]: row[1] for row in rows if len(row) >= 2}


def _choose(devices: dict[str, str], serial: str | None) -> str:
    ready = [name for name, state in devices.items() if state == "device"]
    if serial is not None:
        if serial not in ready:
            state = devices.get(serial, "not attached")
            raise ValueError(f"adb: device {serial} is {state}; ready: {_listed(ready)}.")
        return serial
    if not ready:
        others = ", ".join(f"{name} is {state}" for name, state in devices.items())
        raise ValueError(
            f"adb: no device is ready{f' ({others})' if others else ''}. Attach one, switch USB "
            "debugging on, and allow this computer on its screen."
        )
    if len(ready) > 1:
        raise ValueError(f"adb: several devices are attached: {_listed(ready)}; name one.")
    return ready[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _output(words: Sequence[str], what) -> str:
    """What a command prints to both streams.

    Raises:
        ValueError: It cannot be run, fails or takes too long; the message begins with `what`.
    """
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT,
        )
    except OSError as error:
        raise ValueError(f"{what}: {words[0]} cannot be run: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{what}: no answer within {_LIMIT} s from {words[0]}.") from error
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        said = [line.strip() for line in text.splitlines() if line.strip()]
        reason = said[-1][:300] if said else "it printed nothing"
        raise ValueError(f"{what}: {Path(words[0]).name} failed ({done.returncode}): {reason}")
    return text
