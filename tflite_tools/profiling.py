"""The time of every operator of a file on this machine's CPU, by LiteRT's own profiler."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.benchmark_output import parse_table
from tflite_tools.benchmark_report import OperatorTime

_SCRIPT = Path(__file__).with_name("_profiler.py")

#: LiteRT's numbers for the kernels of `tflite_tools.interpreter`.
_KERNEL_MODES = {"default": 0, "builtin": 2}

_WARMUP = 3

#: Seconds.
_LIMIT = 600


def profile(
    path: str | os.PathLike,
    model: schema.ModelT,
    inputs: Sequence[np.ndarray],
    *,
    threads: int = 1,
    kernels: str = "default",
    runs: int = 20,
) -> list[OperatorTime]:
    """Runs a file with the profiler on, which costs time itself.

    Args:
        path: A file that has passed `flatbuffer.parse`.
        model: The same, parsed.
        inputs: Arrays of its inputs' types and shapes.
        threads: Number of CPU threads.
        kernels: As in `tflite_tools.interpreter`.
        runs: Over so many the times are averaged.

    Returns:
        The operators in the order of computation. Where XNNPACK runs a part of the file these are
        XNNPACK's own, which have no names.

    Raises:
        RuntimeError: The profiler of this LiteRT cannot be used for it; the message says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "inputs.npz")
        np.savez(file, *inputs)
        options = {
            "path": os.path.abspath(path),
            "inputs": file,
            "threads": threads,
            "kernel_mode": _KERNEL_MODES[kernels],
            "warmup": _WARMUP,
            "runs": runs,
        }
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(_SCRIPT), json.dumps(options)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LIMIT,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"it took longer than {_LIMIT} s") from error
    found = parse_table(done.stdout.decode("utf-8", "replace"), runs)
    if done.returncode or not found:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RuntimeError(lines[-1][:300] if lines else f"it ended with {done.returncode}")
    return [_named(model, op) for op in found]


def _named(model: schema.ModelT, op: OperatorTime) -> OperatorTime:
    """The same with the name of its tensor, where the profiler only gives a number."""
    operators = model.subgraphs[0].operators
    number = op.name.removeprefix("[Builtin]:")
    if number.isdecimal() and int(number) < len(operators):
        candidate = operators[int(number)]
        if flatbuffer.operator_name(model, candidate) == op.kind and len(candidate.outputs):
            tensor = model.subgraphs[0].tensors[candidate.outputs[0]]
            return dataclasses.replace(op, name=flatbuffer.text(tensor.name))
    return dataclasses.replace(op, kind=op.kind.removeprefix("Delegate/"))
