"""Dictionaries to flatbuffers and back, by the tables of `tflite_tools.metadata.tables`.

A table is a dictionary of its fields, a vector a list. What a file leaves out is left out of the
dictionary, but for enumerations, whose zero is a name as any other.
"""

from __future__ import annotations

import struct
from typing import Any

import flatbuffers
from flatbuffers import number_types

from tflite_tools.errors import InvalidModelError
from tflite_tools.metadata.tables import TABLES, Enumeration, Union

_SCALARS = {
    "int": number_types.Int32Flags,
    "uint": number_types.Uint32Flags,
    "float": number_types.Float32Flags,
    "byte": number_types.Uint8Flags,
}
_FORMATS = {"int": "<i", "uint": "<I", "float": "<f", "byte": "<B"}
_OFFSET = number_types.UOffsetTFlags
_BYTES_ALIGNMENT = 16  # of flatbuffers inside of the flatbuffer, demanded by the schema

#: A file made to exhaust its reader shares parts without end; TFLite's writers hardly share any.
_MOST_SHARING = 8


def encode(root: str, values: dict[str, Any], identifier: bytes) -> bytes:
    """A table as the bytes of a flatbuffer.

    Args:
        root: Its name in `TABLES`.
        values: Its fields.
        identifier: Four bytes that say what kind of file it is.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_encode_table(builder, root, values), file_identifier=identifier)
    return bytes(builder.Output())


def decode(root: str, data: bytes, identifier: bytes) -> dict[str, Any]:
    """The fields of a flatbuffer's root table, whatever its bytes may be.

    Args:
        root: Its name in `TABLES`.
        data: The flatbuffer.
        identifier: What it must carry.

    Raises:
        InvalidModelError: It carries another one, or is broken.
    """
    if data[4:8] != identifier:
        raise InvalidModelError(f"it does not carry the identifier {identifier.decode()}.")
    reader = _Reader(data)
    return reader.table(root, reader.follow(0))


def _encode_table(builder, name: str, values: dict[str, Any]) -> int:
    fields = TABLES[name]
    unknown = values.keys() - fields.keys()
    if unknown:
        raise KeyError(f"{name} has no field {', '.join(sorted(unknown))}")
    # What a table points to comes before it in the bytes.
    slots = [s for field, kind in fields.items() for s in _slots(builder, kind, values.get(field))]
    builder.StartObject(len(slots))
    for number, (flags, value) in enumerate(slots):
        if value:
            if flags is _OFFSET:
                builder.PrependUOffsetTRelative(value)
            else:
                builder.Prepend(flags, value)
            builder.Slot(number)
    return builder.EndObject()


def _slots(builder, kind, value) -> list[tuple]:
    """What a field puts into its table: type and value, both of a union's; None for nothing."""
    if isinstance(kind, Enumeration):
        return [(_SCALARS["byte"], None if value is None else kind.names.index(value))]
    if isinstance(kind, Union):
        if value is None:
            return [(_SCALARS["byte"], None), (_OFFSET, None)]
        ((name, table),) = value.items()
        table = _encode_table(builder, name, table)
        return [(_SCALARS["byte"], kind.kinds.index(name) + 1), (_OFFSET, table)]
    if value is None or isinstance(kind, str) and kind in _SCALARS:
        return [(_SCALARS.get(kind, _OFFSET) if isinstance(kind, str) else _OFFSET, value)]
    return [(_OFFSET, _encode_offset(builder, kind, value))]


def _encode_offset(builder, kind, value) -> int:
    if isinstance(kind, list):
        return _encode_vector(builder, kind[0], value)
    if kind == "string":
        return builder.CreateString(value)
    if kind == "bytes":
        builder.StartVector(1, len(value), _BYTES_ALIGNMENT)
        builder.head -= len(value)
        builder.Bytes[builder.head : builder.head + len(value)] = value
        return builder.EndVector()
    return _encode_table(builder, kind, value)


def _encode_vector(builder, kind: str, values: list) -> int:
    scalars = kind in _SCALARS
    items = values if scalars else [_encode_offset(builder, kind, value) for value in values]
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        if scalars:
            builder.Prepend(_SCALARS[kind], item)
        else:
            builder.PrependUOffsetTRelative(item)
    return builder.EndVector()


class _Reader:
    """Follows offsets only inside of its bytes, and not without end."""

    def __init__(self, data: bytes):
        self._data = data
        self._left = _MOST_SHARING * len(data)

    def follow(self, position: int) -> int:
        """Where the offset at this position leads."""
        return position + self._scalar("uint", position)

    def table(self, name: str, position: int) -> dict[str, Any]:
        """The fields of a table."""
        offsets = self._field_offsets(position)
        values, slot = {}, 0
        for field, kind in TABLES[name].items():
            if isinstance(kind, Union):
                value = self._union(kind, *(self._at(position, offsets, slot + i) for i in (0, 1)))
                slot += 2
            else:
                value = self._field(kind, self._at(position, offsets, slot))
                slot += 1
            if value is not None:
                values[field] = value
        return values

    def _field_offsets(self, position: int) -> tuple[int, ...]:
        vtable = position - self._scalar("int", position)
        length = self._unpack("<H", vtable)
        if length < 4 or length % 2:
            raise InvalidModelError("a table without a sound list of fields.")
        return self._unpack_all(f"<{length // 2 - 2}H", vtable + 4)

    @staticmethod
    def _at(position: int, offsets: tuple[int, ...], slot: int) -> int | None:
        """Where a field lies, None where the table has none."""
        there = slot < len(offsets) and offsets[slot]
        return position + offsets[slot] if there else None

    def _field(self, kind, position: int | None):
        if isinstance(kind, Enumeration):
            number = 0 if position is None else self._scalar("byte", position)
            # A newer schema may know more.
            return kind.names[number] if number < len(kind.names) else str(number)
        if position is None:
            return None
        if isinstance(kind, str) and kind in _FORMATS:
            return self._scalar(kind, position)
        return self._value(kind, self.follow(position))

    def _union(self, kind: Union, number_at: int | None, value_at: int | None):
        number = 0 if number_at is None else self._scalar("byte", number_at)
        if value_at is None or not 1 <= number <= len(kind.kinds):
            return None
        name = kind.kinds[number - 1]
        return {name: self.table(name, self.follow(value_at))}

    def _value(self, kind, position: int):
        if isinstance(kind, list):
            return self._vector(kind[0], position)
        if kind in ("string", "bytes"):
            size = self._scalar("uint", position)
            content = self._unpack(f"{size}s", position + 4)
            return content if kind == "bytes" else content.decode("utf-8", "replace")
        return self.table(kind, position)

    def _vector(self, kind: str, position: int) -> list:
        count = self._scalar("uint", position)
        if kind in _FORMATS:
            return list(self._unpack_all(f"<{count}{_FORMATS[kind][-1]}", position + 4))
        # All places of the vector are read, and so known to be there, before any is followed.
        offsets = self._unpack_all(f"<{count}I", position + 4)
        starts = (position + 4 + 4 * i + offset for i, offset in enumerate(offsets))
        return [self._value(kind, start) for start in starts]

    def _scalar(self, kind: str, position: int):
        return self._unpack(_FORMATS[kind], position)

    def _unpack(self, form: str, position: int):
        return self._unpack_all(form, position)[0]

    def _unpack_all(self, form: str, position: int) -> tuple:
        size = struct.calcsize(form)
        if position < 0 or position + size > len(self._data):
            raise InvalidModelError("an offset leaves its bytes.")
        self._left -= size
        if self._left < 0:
            raise InvalidModelError("it holds more than its bytes have room for.")
        return struct.unpack_from(form, self._data, position)
