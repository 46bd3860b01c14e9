"""Breaks TFLite files in ways that reach far into their reader. Everything by a seed."""

from __future__ import annotations

import copy
import dataclasses
import struct

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import _structure, flatbuffer
from tflite_tools.serialization import serialize

#: Sizes, indices and offsets that go wrong.
_WORDS = (0, 1, 2, 4, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

#: The same for fields of the object API, which has all sizes of integers.
_NUMBERS = (-(2**31), -2, -1, 0, 1, 2, 3, 7, 100, 127, 2**15, 2**20, 2**31 - 1)


class _Recorder(_structure._Walk):
    """Notes where offsets lie, and where they lead."""

    def __init__(self, data):
        super().__init__(data)
        self.offsets, self.targets = [], []

    def follow(self, position):
        target = super().follow(position)
        self.offsets.append(position)
        self.targets.append(target)
        return target

    def _vector(self, position, size, name):
        # Lengths are as good as offsets.
        self.offsets.append(position)
        return super()._vector(position, size, name)


@dataclasses.dataclass
class Source:
    """A sound file to break.

    Attributes:
        data: its content.
        offsets: positions of offsets and of lengths of vectors.
        targets: where offsets lead.
        model: the same in the schema's object API.
    """

    data: bytes
    offsets: list[int]
    targets: list[int]
    model: schema.ModelT

    @classmethod
    def of(cls, data: bytes) -> Source:
        walk = _Recorder(data)
        waiting = [("Model", walk.follow(0))]
        while waiting:
            waiting += walk.table(*waiting.pop())
        return cls(data, walk.offsets, walk.targets, flatbuffer.parse(data))


def mutate(source: Source, others: list[Source], random: np.random.Generator) -> bytes:
    """A broken copy; a few are still sound.

    Args:
        source: the file.
        others: files to take pieces from.
        random: decides everything.
    """
    kind = random.choice(_KINDS)
    return kind(source, others, random)


def _bytes(source, others, random):
    data = bytearray(source.data)
    for _ in range(random.integers(1, 20)):
        data[random.integers(len(data))] = random.integers(256)
    return bytes(data)


def _bits(source, others, random):
    data = bytearray(source.data)
    for _ in range(random.integers(1, 6)):
        data[random.integers(len(data))] ^= 1 << random.integers(8)
    return bytes(data)


def _words(source, others, random):
    data = bytearray(source.data)
    for _ in range(random.integers(1, 6)):
        position = int(random.integers(len(data) // 4)) * 4
        struct.pack_into("<I", data, position, _word(random))
    return bytes(data)


def _cut(source, others, random):
    return source.data[: random.integers(len(source.data))]


def _splice(source, others, random):
    """A piece of this or another file in the place of a piece, often of another length."""
    piece = others[random.integers(len(others))].data
    start, there = (int(random.integers(8, len(data))) for data in (source.data, piece))
    old, new = (int(random.integers(0, 400)) for _ in range(2))
    if random.random() < 0.5:
        old = new
    return source.data[:start] + piece[there : there + new] + source.data[start + old :]


def _offsets(source, others, random):
    """Offsets that lead elsewhere: to other tables, behind the end, to themselves; lengths too."""
    data = bytearray(source.data)
    for _ in range(random.integers(1, 4)):
        position = source.offsets[random.integers(len(source.offsets))]
        choice = random.integers(3)
        if choice == 0:
            target = source.targets[random.integers(len(source.targets))]
            value = (target - position) % 2**32
        elif choice == 1:
            value = _word(random)
        else:
            (value,) = struct.unpack_from("<I", data, position)
            value = (value + int(random.integers(-8, 9))) % 2**32
        struct.pack_into("<I", data, position, value)
    return bytes(data)


def _fields(source, others, random):
    """A well-formed flatbuffer whose fields do not make sense."""
    model = copy.deepcopy(source.model)
    for _ in range(random.integers(1, 4)):
        _change(model, random)
    try:
        return serialize(model)
    except (struct.error, TypeError, ValueError, AttributeError, OverflowError):
        return source.data  # not even a writer takes it


def _change(model, random):
    """Changes a field somewhere in a model of the object API."""
    node = model
    while True:
        names = [name for name, value in vars(node).items() if value is not None]
        if not names:  # options without any field
            return
        name = names[random.integers(len(names))]
        value = getattr(node, name)
        if isinstance(value, list) and value and hasattr(value[0], "__dict__"):
            if random.random() < 0.03:
                setattr(node, name, _shuffled(value, random))
                return
            node = value[random.integers(len(value))]
        elif hasattr(value, "__dict__"):
            node = value
        else:
            setattr(node, name, _changed(value, random))
            return


def _changed(value, random):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(_NUMBERS[random.integers(len(_NUMBERS))])
    if isinstance(value, bytes):
        return random.bytes(int(random.integers(0, 40)))
    if random.random() < 0.1:
        return None
    if isinstance(value, np.ndarray):
        return _changed_array(value, random)
    return value


def _changed_array(values, random):
    kind = random.integers(4)
    if kind == 0:
        return values[: random.integers(len(values) + 1)]
    if kind == 1:
        return np.concatenate([values, values[: random.integers(len(values) + 1)]])
    if kind == 2:
        return np.zeros_like(values)
    changed = values.copy()
    if len(changed):
        number = _NUMBERS[random.integers(len(_NUMBERS))]
        if values.dtype.kind == "f":
            number = random.choice([number, np.nan, np.inf, -0.0])
        with np.errstate(all="ignore"):
            changed[random.integers(len(changed))] = np.asarray(number).astype(values.dtype)
    return changed


def _shuffled(values, random):
    kind = random.integers(4)
    if kind == 0:
        return None
    if kind == 1:
        return values[: random.integers(len(values))]
    if kind == 2:
        return [*values, values[random.integers(len(values))]]
    return [values[i] for i in random.permutation(len(values))]


def _word(random):
    if random.random() < 0.5:
        return _WORDS[random.integers(len(_WORDS))]
    return int(random.integers(1 << random.integers(1, 33)))


#: Changed fields get farthest, so they come often.
_KINDS = (_bytes, _bits, _words, _cut, _splice, _offsets, _offsets, _fields, _fields, _fields)
