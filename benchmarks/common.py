"""What all benchmarks share: versions, the machine, seeds, and where results are written."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import platform
import threading
import time

import numpy as np

RESULTS = pathlib.Path(__file__).parent / "results"
SHARED = pathlib.Path(
    os.environ.get("MOBILEQUANT_SHARED", pathlib.Path(__file__).parents[2] / "shared")
)
#: Models and files that a benchmark makes; not committed.
WORK = pathlib.Path(__file__).parents[1] / "build" / "benchmarks"


def versions(*more: str) -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on, as far as installed."""
    names = ("tensorflow", "keras", "numpy", "ai-edge-litert", *more)
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor, in words."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return platform.processor()
    vectors = [flag for flag in ("avx2", "avx512f", "avx512_vnni") if flag in flags]
    return f"{model}, {os.cpu_count()} cores, {' '.join(vectors)}"


def write(name: str, results: dict, **settings) -> pathlib.Path:
    """Writes results, with versions, machine and settings, to `benchmarks/results/NAME.json`."""
    path = write_document(RESULTS / f"{name}.json", name, results, settings)
    print(f"wrote {path}")
    return path


def write_document(
    path: pathlib.Path, name: str, results: dict, settings: dict, **others: str
) -> pathlib.Path:
    """The same to any file, whole or not at all; `others` are further versions, by package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions() | others,
        "settings": settings,
        "results": results,
    }
    temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    os.replace(temporary, path)
    return path


def file_scores(path, batches, kernels="default") -> np.ndarray:
    """Integer outputs of a file through LiteRT.

    Args:
        path: The file.
        batches: Iterable of float32 batches, as the Keras model takes them.
        kernels: "default" or "builtin", see `tflite_tools.interpreter`.
    """
    from tflite_tools.interpreter import Interpreter

    interpreter = Interpreter(pathlib.Path(path).read_bytes(), kernels=kernels)
    (port,) = interpreter.inputs
    return np.concatenate(
        [interpreter.run(port.quantize(np.asarray(batch)))[0] for batch in batches]
    )
