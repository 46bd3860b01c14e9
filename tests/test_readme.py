"""README.md says what the benchmarks printed, and its example runs."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def test_figures_are_those_of_the_results():
    script = ROOT / "benchmarks" / "readme.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0, (
        "README.md differs from benchmarks/results; run python benchmarks/readme.py"
    )


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    code = code.replace("epochs=10", "epochs=1").replace("epochs=2", "epochs=1")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "digits.tflite").stat().st_size > 100_000
    assert (tmp_path / "digits.keras").exists()
