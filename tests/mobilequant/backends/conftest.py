"""Runs the scripts of this folder, each a process of its own, all at the same time.

It also makes them importable (pytest's importlib mode does not).
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import backend_cases  # noqa: E402


class Script:
    """A script that runs in the background and leaves arrays in a file."""

    def __init__(self, folder, backend, script, *arguments):
        name = f"{backend}-{Path(script).stem}"
        self.outputs, self.log = folder / f"{name}.npz", folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, FOLDER / script, *arguments, self.outputs],
                env={
                    **os.environ,
                    "KERAS_BACKEND": backend,
                    "JAX_PLATFORMS": "cpu",
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def results(self) -> dict:
        """The arrays by name, once it is done."""
        assert self.process.wait(timeout=300) == 0, self.log.read_text()[-4000:]
        return dict(np.load(self.outputs))


@pytest.fixture(scope="session")
def inputs():
    return backend_cases.draw_inputs()


@pytest.fixture(scope="session")
def scripts(tmp_path_factory, inputs):
    """The running scripts by name; started together, since each waits for one core only."""
    folder = tmp_path_factory.mktemp("backends")
    np.savez(folder / "inputs.npz", **inputs)
    running = {
        "jax": Script(folder, "jax", "backend_cases.py", folder / "inputs.npz"),
        "tensorflow devices": Script(folder, "tensorflow", "device_cases.py"),
        "jax devices": Script(folder, "jax", "device_cases.py"),
    }
    yield running
    for script in running.values():
        if script.process.poll() is None:
            script.process.kill()
            script.process.wait()
