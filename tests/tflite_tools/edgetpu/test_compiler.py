"""Edge TPU compiler beside a plan.

The compiler cannot be installed here: a script of that name stands in for it. It prints a log in
the form of compiler 16.0's, and writes what it was called with; what it says is not the real
compiler's judgement of the file.
"""

import os
import sys

import frozen_graphs
import pytest
from small_files import SmallFile

from tflite_tools import edgetpu
from tflite_tools.edgetpu import compiler
from tflite_tools.emission import emit

LOG = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 24 ms.

Input model: m.tflite
Input size: 12.00KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 10

Operator                       Count      Status

CONV_2D                        3          Mapped to Edge TPU
DEPTHWISE_CONV_2D              2          Mapped to Edge TPU
ADD                            1          Mapped to Edge TPU
PAD                            1          Mapped to Edge TPU
MEAN                           1          Mapped to Edge TPU
FULLY_CONNECTED                1          {}
SOFTMAX                        1          {}
Compilation child process completed within timeout period.
Compilation succeeded!
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(emit(frozen_graphs.classifier(target="edgetpu")))
    return path


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a stand-in for the compiler on the path; it runs these lines of Python."""

    def write(code):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "edgetpu_compiler"
        script.write_text(f"#!{sys.executable}\nimport sys, time\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return write


def log(*statuses):
    return LOG.format(*statuses)


@pytest.mark.parametrize("asked", [None, True])
def test_the_log_is_shown_beside_the_plan(path, install, tmp_path, asked):
    called = tmp_path / "called"
    words = log("Mapped to Edge TPU", "Mapped to Edge TPU")
    install(f"open({str(called)!r}, 'w').write('\\n'.join(sys.argv[1:])); print({words!r})")
    found = edgetpu.plan(path, compile=asked)
    assert found.compilation.mapped == found.mapped and found.compilation.cpu == found.cpu
    assert found.compilation.version == "16.0.384591198" and found.compilation.subgraphs == 1
    assert found.to_dict()["compilation"]["succeeded"]
    assert "the compiler says the same:" in str(found) and words.strip() in str(found)
    *_, folder, file = called.read_text().splitlines()
    assert file == str(path) and not os.path.exists(folder)  # a temporary one


def test_the_compiler_may_say_otherwise(path, install):
    install(f"print({log('Operation not supported', 'More than one subgraph')!r})")
    found = edgetpu.plan(path)
    assert found.compilation.cpu == {"FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert "the compiler says otherwise:" in str(found)


def test_a_failed_compilation_is_shown(path, install):
    install("print('Compilation failed!', file=sys.stderr); sys.exit(1)")
    found = edgetpu.plan(path)
    assert not found.compilation.succeeded
    assert "the compiler could not compile it:\n\nCompilation failed!" in str(found)


def test_the_compiler_has_one_name_for_custom_operators(install, tmp_path):
    file = SmallFile()
    x = file.op("RELU", [file.input(1, 4)], file.tensor(1, 4))
    file.op("MyOp", [x], file.tensor(1, 4))
    path = tmp_path / "custom.tflite"
    path.write_bytes(file.bytes())
    install("print('RELU    1    Mapped to Edge TPU\\nCUSTOM    1    Operation not supported')")
    found = edgetpu.plan(path)
    assert found.cpu == {"MyOp": 1} and found.compilation.cpu == {"CUSTOM": 1}
    assert "the compiler says the same:" in str(found)


def test_without_a_compiler(path, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert edgetpu.plan(path).compilation is None
    with pytest.raises(edgetpu.CompilerError, match="edgetpu_compiler is not on the path.*coral"):
        edgetpu.plan(path, compile=True)


def test_it_may_be_left_out(path, install):
    install("sys.exit('never to be called')")
    assert edgetpu.plan(path, compile=False).compilation is None


def test_it_is_stopped_after_a_time(path, install):
    install("time.sleep(60)")
    with pytest.raises(edgetpu.CompilerError, match="m.tflite.*did not end within 1 seconds"):
        compiler.run(path, timeout=1)


def test_one_that_cannot_be_started_spoils_a_plan_only_where_it_was_asked_for(path, install):
    install("")
    broken = compiler.find()
    with open(broken, "wb") as script:
        script.write(b"#!/no/such/interpreter\n")
    found = edgetpu.plan(path)
    assert found.complete and not found.compilation.succeeded
    assert "cannot be started" in str(found)
    with pytest.raises(edgetpu.CompilerError, match="cannot be started"):
        edgetpu.plan(path, compile=True)
