"""Thousands of broken files: `inspect` and `plan` describe or refuse them, and do nothing else."""

import collections
import json
import time

import foreign_files
import frozen_graphs
import mutations
import numpy as np
import pytest
from bounds import bounded_memory, bounded_time

import tflite_tools
from tflite_tools.emission import emit

#: Seconds for one file, on a busy machine; what is normal is some milliseconds.
_LIMIT = 10

#: Bytes of memory that all files together may ask for beyond what the process has.
_MEMORY = 512 * 2**20


@pytest.fixture(scope="module")
def sources():
    files = [emit(frozen_graphs.classifier()), *(make() for make in foreign_files.FILES.values())]
    # In large files most bytes are weights, in which nothing can break.
    return [mutations.Source.of(data) for data in files if len(data) < 30_000]


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


def fuzz(sources, path, cases, seed):
    """Outcomes of so many mutations by number, and the longest time of one."""
    outcomes, longest = collections.Counter(), 0.0
    for case in range(cases):
        random = np.random.default_rng((seed, case))
        data = mutations.mutate(sources[case % len(sources)], sources, random)
        path.write_bytes(data)
        started = time.perf_counter()
        for tool in (describe, plan):
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


@pytest.mark.parametrize("seed", range(2))
def test_a_sample(sources, tmp_path, seed):
    with bounded_memory(_MEMORY):
        outcomes, _ = fuzz(sources, tmp_path / "mutated.tflite", 200, seed)
    assert len(outcomes) == 4 and min(outcomes.values()) > 20, outcomes


@pytest.mark.slow
def test_ten_thousand(sources, tmp_path):
    started, computed = time.perf_counter(), time.process_time()
    with bounded_memory(_MEMORY):
        outcomes, longest = fuzz(sources, tmp_path / "mutated.tflite", 10_000, 1000)
    seconds, computed = time.perf_counter() - started, time.process_time() - computed
    print(dict(outcomes), f"{seconds:.0f} s ({computed:.0f} s of them computed)")
    print(f"longest {longest:.2f} s")
    assert outcomes["describe sound"] + outcomes["describe broken"] == 10_000
