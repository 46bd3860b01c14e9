"""Where a report was made: versions, the processor, the time."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

_PACKAGES = ("mobilequant", "tensorflow", "keras", "ai-edge-litert", "numpy")


def describe() -> dict[str, str]:
    """Versions of what computed, the processor and the time, as lines for people."""
    versions = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    now = datetime.datetime.now(datetime.UTC)
    return {
        "Made with": ", ".join(versions),
        "On": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "Report of": f"{now:%Y-%m-%d %H:%M} UTC",
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def sha256(path: str | os.PathLike) -> str:
    """The hash of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
