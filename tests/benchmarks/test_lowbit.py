"""The low-precision benchmark runs at a tiny setting, on both backends, and resumes."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("MOBILEQUANT_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="module")
def report():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from lowbit import report
    finally:
        sys.path.pop(0)
    return report


def run(output, *arguments):
    command = [sys.executable, ROOT / "benchmarks" / "lowbit", "--tiny", "--output", output]
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.skipif(
    not (SHARED / "data" / "cifar10").exists() and "CI" not in os.environ,
    reason="needs CIFAR-10 in ../shared",
)
@pytest.mark.parametrize(
    "backend, name",
    [
        pytest.param("tensorflow", "comparison/w1a1/denoise affine", marks=pytest.mark.slow),
        # backends/test_jax.py is the quick test that Keras on JAX computes the same.
        pytest.param("jax", "rate/0.1/lsq", marks=pytest.mark.slow),
    ],
)
def test_a_run_is_made_once_and_reported(tmp_path, report, backend, name):
    output = tmp_path / "tiny.json"
    first = run(output, "comparison/float", name, "--seeds", "1", "--backend", backend)
    assert first.returncode == 0, first.stderr[-2000:]
    assert "2 to do now: about" in first.stdout.splitlines()[0]
    document = json.loads(output.read_text())
    assert document["settings"]["backend"] == backend
    assert set(document["results"]) == {"comparison/float/float/0", f"{name}/0"}
    for entry in document["results"].values():
        assert 0 <= entry["accuracy"] <= 1 and entry["test_loss"] < 10
        assert len(entry["losses"]) >= 8
    assert report.tables(document)
    report.plot_curves(document, tmp_path / "curves.png")
    report.plot_sweeps(document, tmp_path / "sweeps.png")
    assert (tmp_path / "sweeps.png").stat().st_size > 5000

    again = run(output, "comparison/float", name, "--seeds", "1", "--backend", backend, "--list")
    assert "2 done, 0 to do now" in again.stdout


def test_an_unknown_name_and_other_settings_are_refused(tmp_path):
    assert "no run's name begins with 'w9'" in run(tmp_path / "a.json", "w9").stderr
    other = tmp_path / "b.json"
    other.write_text(json.dumps({"settings": {"epochs": 99}, "results": {}}))
    refused = run(other)
    assert refused.returncode != 0 and "results of other settings" in refused.stderr
    assert json.loads(other.read_text())["settings"] == {"epochs": 99}


def test_a_verdict_needs_twice_the_standard_error(report):
    assert report.difference([0.60, 0.61, 0.62], [0.50, 0.51, 0.52])[1] == "yes"
    assert report.difference([0.50, 0.51, 0.52], [0.60, 0.61, 0.62])[1] == "no"
    assert report.difference([0.60, 0.61, 0.62], [0.60, 0.60, 0.62])[1] == "no difference found"
    assert report.difference([0.60], [0.50])[1] == "one seed: no verdict"
