"""README.md says what the benchmarks printed (its example runs in test_docs_code.py)."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def test_figures_are_those_of_the_results():
    script = ROOT / "benchmarks" / "readme.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0, (
        "README.md differs from benchmarks/results; run python benchmarks/readme.py"
    )
