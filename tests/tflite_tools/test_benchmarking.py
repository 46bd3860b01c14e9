"""Times and memory of files on this machine."""

import json
import shutil
import subprocess

import broken_files
import frozen_graphs
import numpy as np
import pytest

import tflite_tools
from tflite_tools import child, flatbuffer, profiling
from tflite_tools.child import Child
from tflite_tools.emission import emit
from tflite_tools.interpreter import Interpreter


@pytest.fixture(scope="module")
def graph():
    return frozen_graphs.classifier(seed=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory, graph):
    path = tmp_path_factory.mktemp("files") / "m.tflite"
    path.write_bytes(emit(graph))
    return path


def test_xnnpack_and_built_in_kernels_in_one_table(path):
    result = tflite_tools.benchmark(path, path, runs=12, warmup=0, xnnpack="both")
    runtimes = ["XNNPACK", "built-in kernels"]
    assert [entry.runtime for entry in result.files] == runtimes * 2
    for entry in result.files:
        assert entry.runs == 12
        assert 0 < entry.minimum <= entry.low <= entry.median <= entry.high
        assert entry.load > 0 and entry.first > 0
    text = str(result)
    assert all(word in text for word in ("median ms", "first ms", "built-in kernels", "arena"))
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found["xnnpack"] == "both" and len(found["files"]) == 4


def test_memory_is_that_of_the_file(tmp_path):
    """A dense layer of 40 MB, against one that is nothing; this process has held far more."""
    big, small = tmp_path / "big.tflite", tmp_path / "small.tflite"
    for file, units in ((big, 40_000), (small, 10)):
        builder = frozen_graphs.Builder()
        builder.graph.outputs.append(builder.dense(builder.input((1000,)), units))
        file.write_bytes(emit(builder.graph))
    files = tflite_tools.benchmark(big, small, runs=2, warmup=0).files
    added = [entry.memory_added for entry in files]
    assert added[0] - added[1] > 35e6 and added[1] < 30e6
    assert files[1].memory < 150e6
    assert all(entry.memory > entry.memory_added and entry.arena > 0 for entry in files)


def test_what_the_child_computes_is_what_litert_computes(path, graph):
    x = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3))
    with Child(path, flatbuffer.read(path)) as process:
        (port,) = process.inputs
        assert port == Interpreter(path.read_bytes()).inputs[0]
        process.feed([port.quantize(x)])
        assert len(process.run(3)) == 3


def test_given_images(path):
    x = np.zeros((5, 16, 16, 3), "float32")
    for images in (x, [x], {"image": x}):
        assert tflite_tools.benchmark(path, runs=1, images=images).files[0].runs == 1
    with pytest.raises(ValueError, match=r"m.tflite: input 'image' takes \(1, 16, 16, 3\), the im"):
        tflite_tools.benchmark(path, images=x[:, 1:])
    for missing in ({"other": x}, []):
        with pytest.raises(ValueError, match="no images for the input 'image'"):
            tflite_tools.benchmark(path, images=missing)


def test_profile_of_built_in_kernels_names_every_operator(path, graph):
    (entry,) = tflite_tools.benchmark(path, runs=5, xnnpack=False, profile=True).files
    operators = [op for op in graph.operators if op.kind != "RESHAPE"]
    assert [(op.kind, op.name) for op in entry.operators if op.kind != "RESHAPE"] == [
        (op.kind, op.outputs[0].name) for op in operators
    ]
    assert sum(op.share for op in entry.operators) == pytest.approx(1, abs=0.01)
    assert all(op.milliseconds < 1000 for op in entry.operators)


def test_profile_of_xnnpack(path):
    result = tflite_tools.benchmark(path, runs=5, profile=True)
    kinds = [op.kind for op in result.files[0].operators]
    assert sum("Conv" in kind or "Fully Connected" in kind for kind in kinds) >= 5
    assert not any(kind.startswith("Delegate/") for kind in kinds)
    assert result.profile_note is None and "the longest of" in str(result)


def test_profile_takes_about_as_long_as_the_file(tmp_path):
    """Milliseconds of one inference, not of all runs together."""
    builder = frozen_graphs.Builder()
    builder.graph.outputs.append(builder.dense(builder.input((2000,)), 4000))
    file = tmp_path / "m.tflite"
    file.write_bytes(emit(builder.graph))
    (entry,) = tflite_tools.benchmark(file, runs=30, xnnpack=False, profile=True).files
    total = sum(op.milliseconds for op in entry.operators)
    assert entry.minimum / 10 < total < 10 * entry.high


def test_a_profiler_that_cannot_be_used_is_a_note(path, monkeypatch):
    monkeypatch.setitem(profiling._KERNEL_MODES, "default", "neither")
    result = tflite_tools.benchmark(path, runs=2, profile=True)
    assert result.files[0].operators is None
    assert f"{path}: LiteRT's profiler: " in result.profile_note
    assert "no profile by operator" in str(result)


def test_operators_that_leave_their_outputs_out(tmp_path):
    path = tmp_path / "variable.tflite"
    path.write_bytes(broken_files.variable())
    assert tflite_tools.compare(path, path, layers=True).equal == 1
    (entry,) = tflite_tools.benchmark(path, runs=2, xnnpack=False, profile=True).files
    assert [op.kind for op in entry.operators] == ["VAR_HANDLE", "ASSIGN_VARIABLE", "READ_VARIABLE"]


def test_a_file_that_ends_the_process_is_an_error(path, tmp_path):
    broken = tmp_path / "split.tflite"
    broken.write_bytes(broken_files.split_by_zero())
    with pytest.raises(tflite_tools.InvalidModelError, match="split.tflite: LiteRT ends .*SIGSEGV"):
        tflite_tools.benchmark(path, broken)


@pytest.mark.parametrize(
    "tool",
    [tflite_tools.benchmark, lambda path: tflite_tools.compare(path, path)],
    ids=["benchmark", "compare"],
)
def test_a_loop_that_never_ends_is_an_error(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(child, "PATIENCE", 2)
    endless = tmp_path / "loop.tflite"
    endless.write_bytes(broken_files.endless_loop())
    with pytest.raises(
        tflite_tools.InvalidModelError,
        match=r"loop\.tflite: LiteRT gave no answer within 2 s .* a loop that never ends",
    ):
        tool(endless)


def test_patience_grows_with_the_work():
    builder = frozen_graphs.Builder()
    builder.graph.outputs.append(builder.dense(builder.input((1000,)), 1000))
    model = flatbuffer.parse(emit(builder.graph))
    assert child._patience(model) - child.PATIENCE == pytest.approx(1e6 / 20e6)


def test_a_delegate_that_is_not_there(path, shared):
    with pytest.raises(ValueError, match="m.tflite: .*delegate libnone.so: .*cannot open"):
        tflite_tools.benchmark(path, delegate="libnone.so")
    edgetpu = shared / "reference/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    with pytest.raises(ValueError, match="quant_edgetpu.tflite holds edgetpu-custom-op and needs"):
        tflite_tools.benchmark(edgetpu)


DELEGATE = r"""
/* The beginning of LiteRT's TfLiteDelegate: it takes over no operator. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
typedef struct Delegate Delegate;
struct Delegate {
  void *data;
  int (*prepare)(void *context, Delegate *delegate);
  void *others[3];
  int64_t flags;
  void *more[8];
};
static int prepare(void *context, Delegate *delegate) { return 0; }
Delegate *tflite_plugin_create_delegate(
    char **keys, char **values, size_t count, void (*report)(const char *)) {
  Delegate *made = calloc(1, sizeof(Delegate));
  made->prepare = prepare;
  return made;
}
void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_delegate(path, tmp_path):
    source, library = tmp_path / "idle.c", tmp_path / "libidle.so"
    source.write_text(DELEGATE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    (entry,) = tflite_tools.benchmark(path, runs=2, delegate=str(library)).files
    assert entry.runtime == str(library) and entry.median > 0


def test_plot(path, tmp_path):
    result = tflite_tools.benchmark(path, runs=3, xnnpack="both")
    file = tmp_path / "m.png"
    drawn = result.plot(file)
    assert file.read_bytes()[1:4] == b"PNG"
    (axis,) = drawn.axes
    widths = [bar.get_width() for bar in axis.patches]
    assert widths == [entry.median for entry in result.files]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["m.tflite"] * 2
    with pytest.raises(ValueError, match="must end in .png"):
        result.plot(tmp_path / "m.jpg")


def test_bad_arguments(path):
    with pytest.raises(ValueError, match='xnnpack must be True, False or "both"'):
        tflite_tools.benchmark(path, xnnpack="none")
