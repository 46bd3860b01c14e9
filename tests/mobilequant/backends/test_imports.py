"""What `import mobilequant` brings along on each backend."""

import os
import subprocess
import sys

SCRIPT = """
import sys
import mobilequant as mq
assert "tensorflow" not in sys.modules, "by import mobilequant"
options = {"input_shape": (96, 96, 3), "alpha": 0.35}
detector = mq.models.SSDLite("MobileNetV2", 2, **options)
assert "tensorflow" not in sys.modules, "by building a detector"
from mobilequant.tasks.detection import Detector, suppress
assert Detector.of(detector).classes == 2
assert "tensorflow" not in sys.modules, "by importing detection"
assert suppress([[[0.1, 0.1, 0.5, 0.5]]], [[[0.9]]]).counts.numpy() == [1]
assert "tensorflow" in sys.modules
"""


def test_no_tensorflow_on_jax_before_something_needs_it():
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr[-3000:]
