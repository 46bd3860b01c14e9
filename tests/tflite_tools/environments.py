"""Python environments for what cannot live beside TensorFlow and the test extras.

They are made once, under build/, from the package index.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def python_with(*requirements: str) -> Path:
    """The interpreter of an environment that has these packages.

    Where they cannot be installed the test is skipped, but in continuous integration it fails.
    """
    key = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    folder = REPOSITORY / "build" / "environments" / key
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        result = subprocess.run([*install, *requirements], capture_output=True, text=True)
        if result.returncode:
            cannot(f"pip cannot install {', '.join(requirements)}: {last_line(result.stderr)}")
        done.touch()
    return python


def run_python(python: Path, *arguments) -> subprocess.CompletedProcess:
    """Runs an interpreter that sees nothing of this one's packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    line = [str(python), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300)


def cannot(reason: str):
    """Skips a test, in continuous integration fails it."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def last_line(text: str) -> str:
    """What an error ends with."""
    return (text.strip().splitlines() or ["no message"])[-1]
