"""Tools that only read files start without TensorFlow, and the package lists what it has."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import frozen_graphs
import pytest

import tflite_tools
from tflite_tools.emission import emit


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("startup") / "m.tflite"
    path.write_bytes(emit(frozen_graphs.classifier()))
    return path


def run(*arguments):
    """A new Python that must succeed; what it printed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    return process.stdout


WITHOUT = "; assert not {'tensorflow', 'keras', 'jax', 'matplotlib'} & set(sys.modules)"


@pytest.mark.parametrize(
    "code",
    [
        "tflite_tools.inspect(sys.argv[1]).to_dict()",
        "tflite_tools.benchmark(sys.argv[1], runs=1, warmup=0)",
        "tflite_tools.edgetpu.plan(sys.argv[1]).to_dict()",
        "tflite_tools.report(sys.argv[1], runs=1).html",
        "tflite_tools.compare(sys.argv[1], sys.argv[1], layers=True).to_dict()",
        "tflite_tools.pack(sys.argv[1], sys.argv[1], runs=0).to_dict()",
        "tflite_tools.metadata.read(sys.argv[1])",
        "tflite_tools.InvalidModelError",
    ],
)
def test_no_tensorflow_in_the_library(path, code):
    run("-c", f"import sys, tflite_tools; {code}{WITHOUT}", path)


@pytest.mark.parametrize(
    "line",
    [
        ["inspect"],
        ["inspect", "--json"],
        ["metadata"],
        ["plan"],
        ["benchmark", "--runs", "1"],
        ["report", "--runs", "1", "--json"],
    ],
)
def test_no_tensorflow_on_the_command_line(path, line):
    # The command knows itself by its program's name.
    code = "import sys; sys.argv = ['mobilequant']; from mobilequant.cli import main; "
    code += f"assert main([*{line!r}, {str(path)!r}]) == 0{WITHOUT}"
    assert "m.tflite" in run("-c", code)


def test_inspect_starts_fast(path):
    """About a second on an idle machine; TensorFlow alone takes several."""
    times = []
    for _ in range(3):
        started = time.monotonic()
        run("-m", "mobilequant.cli", "inspect", path)
        times.append(time.monotonic() - started)
    assert min(times) < 5, times


def test_the_lists_agree():
    """What is exported, where it comes from, and what type checkers read."""
    source = ast.parse(Path(tflite_tools.__file__).read_text())
    (guarded,) = [node for node in source.body if isinstance(node, ast.If)]
    imported = {
        alias.name: node.module.removeprefix("tflite_tools.")
        for node in guarded.body
        for alias in node.names
    }
    imported = {name: name if home == "tflite_tools" else home for name, home in imported.items()}
    assert imported == tflite_tools._MODULES
    assert sorted(imported) == sorted(tflite_tools.__all__)
    assert set(tflite_tools.__all__) <= set(dir(tflite_tools))
    for name in tflite_tools.__all__:
        assert getattr(tflite_tools, name).__name__.endswith(name)


def test_no_such_name():
    with pytest.raises(AttributeError, match="no attribute 'inspection_of'"):
        tflite_tools.inspection_of  # noqa: B018
