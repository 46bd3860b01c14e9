"""Broken files: an error with name and reason, never a crash, a hang or another exception."""

import os
import struct
import tracemalloc

import foreign_files
import frozen_graphs
import numpy as np
import pytest
from bounds import bounded_memory, bounded_time

import tflite_tools
from tflite_tools import InvalidModelError, _structure, flatbuffer
from tflite_tools.emission import emit
from tflite_tools.interpreter import Interpreter
from tflite_tools.serialization import serialize


@pytest.fixture(scope="module")
def sound():
    return emit(frozen_graphs.classifier())


def test_missing(tmp_path):
    with pytest.raises(InvalidModelError, match=r"gone\.tflite: there is no such file"):
        flatbuffer.read(tmp_path / "gone.tflite")


def test_directory(tmp_path):
    with pytest.raises(InvalidModelError, match="is a directory"):
        flatbuffer.read(tmp_path)


@pytest.mark.parametrize("place", ["pipe", "/dev/zero"])
def test_what_may_never_end_is_not_read(tmp_path, place):
    path = tmp_path / place
    if place == "pipe":
        os.mkfifo(path)
    with pytest.raises(InvalidModelError, match=f"{path}: is a device or a pipe, not a TFLite"):
        flatbuffer.read(path)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "not a TFLite file"),
        (b"\x10\x00\x00\x00TFL3", "its 32,212,254,720 bytes do not fit in memory"),
    ],
)
def test_huge(tmp_path, header, reason):
    path = tmp_path / "huge.tflite"
    with path.open("wb") as file:
        file.write(header)
        file.truncate(30 * 2**30)
    with bounded_memory(2**30), bounded_time(10):
        for tool in (flatbuffer.read, tflite_tools.inspect):
            with pytest.raises(InvalidModelError, match=f"{path}: {reason}"):
                tool(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a TFLite file"),
        (b"PK\x03\x04 this is some other format", "not a TFLite file"),
        (b"\xff\xff\xff\xffTFL3", "leaves the file"),
        (b"\x08\x00\x00\x00TFL3", "leaves the file"),
    ],
)
def test_no_model(tmp_path, content, reason):
    path = tmp_path / "some.tflite"
    path.write_bytes(content)
    for function in (flatbuffer.read, tflite_tools.inspect, tflite_tools.benchmark):
        with pytest.raises(InvalidModelError, match=rf"some\.tflite.*{reason}"):
            function(path)


@pytest.mark.parametrize("part", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_cut_short(sound, part):
    with pytest.raises(InvalidModelError):
        flatbuffer.parse(sound[: int(len(sound) * part)])


def _break_tensor_index(model):
    model.subgraphs[0].operators[1].inputs = np.array([9999], np.int32)


def _break_buffer_index(model):
    model.subgraphs[0].tensors[3].buffer = 9999


def _break_operator_code(model):
    model.subgraphs[0].operators[0].opcodeIndex = 77


def _break_builtin(model):
    model.operatorCodes[0].builtinCode = 9999


def _break_size(model):
    model.subgraphs[0].tensors[2].shape = np.array([1 << 20, 1 << 20], np.int32)


def _break_scales(model):
    model.subgraphs[0].tensors[1].quantization.quantizedDimension = 3


def _break_signature(model):
    model.signatureDefs[0].outputs[0].tensorIndex = 555


def _break_metadata(model):
    model.metadata[0].buffer = 555


def _break_scale_values(model):
    model.subgraphs[0].tensors[1].quantization.scale = np.array([np.nan], np.float32)


def _break_dimensions(model):
    model.subgraphs[0].tensors[-1].shape = np.ones(65, np.int32)


def _break_memory(model):
    model.subgraphs[0].tensors[-1].shape = np.full(2, 2**30, np.int32)


def _break_place_of_buffer(model):
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 100, 10**6


def _break_place_of_custom_data(model):
    op = model.subgraphs[0].operators[0]
    op.largeCustomOptionsOffset, op.largeCustomOptionsSize = 2**62, 2**62


def _break_subgraphs(model):
    model.subgraphs = None


@pytest.mark.parametrize(
    "fault", [value for name, value in sorted(globals().items()) if name.startswith("_break_")]
)
def test_indices_that_lead_nowhere(sound, fault):
    model = flatbuffer.parse(sound)
    fault(model)
    with pytest.raises(InvalidModelError, match="a broken model"):
        flatbuffer.parse(serialize(model))


def test_tables_shared_to_exhaust_the_reader(sound):
    # All subgraphs are one and the same, so that each holds the others' tensors again.
    count = 100_000
    root = struct.unpack_from("<I", sound)[0]
    vtable = root - struct.unpack_from("<i", sound, root)[0]
    field = root + struct.unpack_from("<H", sound, vtable + 4 + 2 * 2)[0]
    vector = field + struct.unpack_from("<I", sound, field)[0]
    subgraph = vector + 4 + struct.unpack_from("<I", sound, vector + 4)[0]
    # A new vector behind the file's end can only point forwards: a copy of the file follows it.
    start = -(-len(sound) // 16) * 16
    body = start + 4 + 4 * count
    data = bytearray(sound.ljust(start, b"\0"))
    struct.pack_into("<I", data, field, start - field)
    target = body + subgraph
    data += struct.pack("<I", count)
    data += b"".join(struct.pack("<I", target - (start + 4 + 4 * i)) for i in range(count))
    data += sound
    with pytest.raises(InvalidModelError, match="more tables than"):
        flatbuffer.parse(bytes(data))


def test_sound_after_packing_again(sound):
    model = flatbuffer.parse(sound)
    inputs = frozen_graphs.random_inputs(frozen_graphs.classifier(), 2)
    np.testing.assert_array_equal(
        Interpreter(serialize(model)).run(*inputs)[0], Interpreter(sound).run(*inputs)[0]
    )


def test_vectors_shared_to_exhaust_the_reader(sound):
    # A vector of a million inputs behind the file, for each of its operators.
    model = flatbuffer.parse(sound)
    graph = model.subgraphs[0]
    graph.operators = graph.operators * 20
    data = bytearray(serialize(model))
    walk = _structure._Walk(data)
    start = -(-len(data) // 16) * 16
    waiting = [("Model", walk.follow(0))]
    while waiting:
        name, position = waiting.pop()
        waiting += walk.table(name, position)
        if name == "Operator":
            _, fields = walk._vtable(position - struct.unpack_from("<i", data, position)[0])
            inputs = position + fields[1]
            struct.pack_into("<I", data, inputs, start - inputs)
    data = data.ljust(start, b"\0") + struct.pack("<I", 250_000) + bytes(4 * 250_000)
    with pytest.raises(InvalidModelError, match="more vectors than"):
        flatbuffer.parse(bytes(data))


def test_what_a_shape_declares_is_not_allocated(sound, tmp_path):
    model = flatbuffer.parse(sound)
    model.subgraphs[0].tensors[-1].shape = np.full(2, 2**23, np.int32)
    path = tmp_path / "huge.tflite"
    path.write_bytes(serialize(model))
    tracemalloc.start()
    try:
        found = tflite_tools.inspect(path)
        str(found), found.to_dict(), found.tensor_table()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.subgraphs[0].memory.arena >= 2**46
    assert peak < 2**23


def test_what_lies_behind_the_flatbuffer_is_read_in():
    inside = flatbuffer.parse(emit(frozen_graphs.classifier()))
    outside = flatbuffer.parse(foreign_files.behind())
    for a, b in zip(inside.buffers, outside.buffers, strict=True):
        assert b.offset == b.size == 0
        np.testing.assert_array_equal(a.data, b.data)
