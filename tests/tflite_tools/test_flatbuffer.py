"""Broken files: an error with name and reason, never a crash, a hang or another exception."""

import struct

import frozen_graphs
import numpy as np
import pytest

import tflite_tools
from tflite_tools import InvalidModelError, flatbuffer
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


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files(sound, tmp_path, seed):
    """Random bytes, words and cuts: either a description or an InvalidModelError."""
    random = np.random.default_rng(seed)
    path = tmp_path / "mutated.tflite"
    outcomes = {"sound": 0, "broken": 0}
    for _ in range(150):
        path.write_bytes(_mutate(sound, random))
        try:
            str(tflite_tools.inspect(path)), tflite_tools.inspect(path).to_dict()
            outcomes["sound"] += 1
        except InvalidModelError as error:
            assert "mutated.tflite" in str(error)
            outcomes["broken"] += 1
    assert all(outcomes.values()), outcomes


def _mutate(data, random):
    mutated = bytearray(data)
    kind = random.integers(4)
    if kind == 0:
        for _ in range(random.integers(1, 20)):
            mutated[random.integers(8, len(mutated))] = random.integers(256)
    elif kind == 1:
        for _ in range(random.integers(1, 6)):
            position = int(random.integers(2, len(mutated) // 4)) * 4
            value = int(random.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, random.integers(1 << 20)]))
            struct.pack_into("<I", mutated, min(position, len(mutated) - 4), value)
    elif kind == 2:
        del mutated[int(random.integers(0, len(mutated))) :]
    else:
        start = int(random.integers(8, len(mutated)))
        mutated[start : start + int(random.integers(1, 400))] = random.bytes(
            int(random.integers(0, 400))
        )
    return bytes(mutated)
