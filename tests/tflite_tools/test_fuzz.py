"""Thousands of broken files: what reads or changes files takes or refuses them, nothing else."""

import collections
import json
import time

import broken_files
import foreign_files
import frozen_graphs
import mutations
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from bounds import bounded_memory, bounded_time

import tflite_tools
from tflite_tools import comparison, flatbuffer, int4, metadata
from tflite_tools.emission import emit
from tflite_tools.serialization import serialize, with_outputs

#: Seconds for one file, on a busy machine; what is normal is some milliseconds.
_LIMIT = 10

#: Bytes of memory that all files together may ask for beyond what the process has.
_MEMORY = 512 * 2**20


@pytest.fixture(scope="module")
def sources():
    own = emit(frozen_graphs.classifier())
    others = [broken_files.variable(), *(make() for make in foreign_files.FILES.values())]
    uint8 = emit(frozen_graphs.classifier(), interface="uint8")  # as metadata want it
    files = [own, small_weights(uint8), *others]
    # In large files most bytes are weights, in which nothing can break.
    return [mutations.Source.of(data) for data in files if len(data) < 30_000]


def small_weights(data):
    """A file with weights that fit into 4 bits."""
    model = flatbuffer.parse(data)
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer]
        if tensor.type == schema.TensorType.INT8 and buffer.data is not None:
            buffer.data = np.clip(np.asarray(buffer.data).view(np.int8), -7, 7).view(np.uint8)
    return serialize(model)


def describe(path):
    """All that the tools say of a file."""
    found = tflite_tools.inspect(path)
    json.dumps(found.to_dict(), allow_nan=False)
    texts = [str(found), found.operator_table(), found.tensor_table()]
    assert all(line.isprintable() for text in texts for line in text.splitlines())


def plan(path):
    found = tflite_tools.edgetpu.plan(path, compile=False)
    json.dumps(found.to_dict(), allow_nan=False)
    str(found)


def pack(path):
    model = flatbuffer.read(path)
    int4.describe(int4.pack_weights(model, "all"))
    serialize(model)


def embed(path):
    (image,) = frozen_graphs.classifier().inputs
    task = metadata.ImageClassifier(
        labels=[str(i) for i in range(10)], mean=image.zero_point + 128, std=1 / image.scale
    )
    model = flatbuffer.read(path)
    try:
        metadata.embed(model, task)
    except tflite_tools.InvalidModelError as error:
        raise tflite_tools.InvalidModelError(f"{path}: {error}") from error


def prepare_comparison(path):
    model = flatbuffer.read(path)
    with_outputs(model, list(comparison._computed(model).values()))


READERS = (describe, plan)
CHANGERS = (pack, embed, prepare_comparison)


def fuzz(sources, path, cases, seed, tools):
    """Outcomes of so many mutations by number, and the longest time of one."""
    outcomes, longest = collections.Counter(), 0.0
    for case in range(cases):
        random = np.random.default_rng((seed, case))
        data = mutations.mutate(sources[case % len(sources)], sources, random)
        path.write_bytes(data)
        started = time.perf_counter()
        for tool in tools:
            try:
                with bounded_time(_LIMIT):
                    tool(path)
                outcome = "sound"
            except tflite_tools.InvalidModelError as error:
                assert path.name in str(error)
                assert not isinstance(error.__cause__, MemoryError), f"case {case}"
                outcome = "broken"
            except Exception as error:
                error.add_note(f"seed {seed}, case {case}: {tool.__name__} of {path}")
                raise
            outcomes[f"{tool.__name__} {outcome}"] += 1
        longest = max(longest, time.perf_counter() - started)
    return outcomes, longest


@pytest.mark.parametrize("tools", [READERS, CHANGERS], ids=["readers", "changers"])
def test_a_sample(sources, tmp_path, tools):
    with bounded_memory(_MEMORY):
        outcomes, _ = fuzz(sources, tmp_path / "mutated.tflite", 300, 0, tools)
    assert len(outcomes) == 2 * len(tools) and min(outcomes.values()) >= 5, outcomes


@pytest.mark.slow
def test_ten_thousand(sources, tmp_path):
    started, computed = time.perf_counter(), time.process_time()
    with bounded_memory(_MEMORY):
        outcomes, longest = fuzz(
            sources, tmp_path / "mutated.tflite", 10_000, 1000, READERS + CHANGERS
        )
    seconds, computed = time.perf_counter() - started, time.process_time() - computed
    print(dict(outcomes), f"{seconds:.0f} s ({computed:.0f} s of them computed)")
    print(f"longest {longest:.2f} s")
    assert outcomes["describe sound"] + outcomes["describe broken"] == 10_000
