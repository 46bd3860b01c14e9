"""Runs the scripts of this folder, each a process of its own.

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


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A function that starts a `Script`; those that still run at the end of a file are ended."""
    folder, running = tmp_path_factory.mktemp("backends"), []

    def start(backend, script, *arguments):
        running.append(Script(folder, backend, script, *arguments))
        return running[-1]

    yield start
    for script in running:
        if script.process.poll() is None:
            script.process.kill()
            script.process.wait()
