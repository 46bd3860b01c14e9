"""Checks that a flatbuffer keeps inside its bytes, before anything follows its offsets.

The schema of a TFLite file is a table here: for each of its tables what each field is. Options
of operators are checked as tables only (their own fields are scalars and short vectors, which
the generated reader checks), everything that leads to other tables is followed.
"""

from __future__ import annotations

import struct

from tflite_tools.errors import InvalidModelError

#: A table and the offset to it take at least so many bytes, unless tables are shared; TFLite's
#: writers share none, a file made to exhaust its reader does.
_SMALLEST_TABLE = 8

#: The same for vectors and strings, which a few writers do share: all of them together may have
#: so many times the bytes of the file.
_SHARING = 16

#: What a field is: bytes of a scalar, a string, a vector of scalars (bytes of one), a table, a
#: vector of tables, or a union (a table whose kind another field names).
_STRING = "string"


def _vector(size: int):
    return ("vector", size)


def _table(name: str):
    return ("table", name)


def _tables(name: str):
    return ("tables", name)


_UNION = _table("Union")

#: Fields in the schema's order; None stands for a field that is not followed.
_SCHEMA: dict[str, tuple] = {
    "Model": (
        4, _tables("OperatorCode"), _tables("SubGraph"), _STRING, _tables("Buffer"), _vector(4),
        _tables("Metadata"), _tables("SignatureDef"), _tables("ExternalBufferGroup"),
        _tables("ExternalBuffer"),
    ),
    "OperatorCode": (1, _STRING, 4, 4),
    "SubGraph": (
        _tables("Tensor"), _vector(4), _vector(4), _tables("Operator"), _STRING, 4,
    ),
    "Tensor": (
        _vector(4), 1, 4, _STRING, _table("Quantization"), 1, _table("Sparsity"), _vector(4), 1,
        _tables("VariantSubType"), 4,
    ),
    "Quantization": (_vector(4), _vector(4), _vector(4), _vector(8), 1, _UNION, 4),
    "Sparsity": (_vector(4), _vector(4), _tables("Dimension")),
    "Dimension": (1, 4, 1, _UNION, 1, _UNION),
    "VariantSubType": (_vector(4), 1, 1),
    "Operator": (
        4, _vector(4), _vector(4), 1, _UNION, _vector(1), 1, _vector(1), _vector(4), 8, 8, 1,
        _UNION, 4,
    ),
    "Buffer": (_vector(1), 8, 8),
    "Metadata": (_STRING, 4),
    "SignatureDef": (_tables("TensorMap"), _tables("TensorMap"), _STRING, None, 4),
    "TensorMap": (_STRING, 4),
    "ExternalBufferGroup": (_STRING,),
    "ExternalBuffer": (4, 4, 8, 8, _STRING),
    "Union": (),
}  # fmt: skip


def check(data: bytes) -> None:
    """Follows every table, vector and string of a TFLite file.

    Args:
        data: The whole file, identifier included.

    Raises:
        InvalidModelError: One of them leaves the file.
    """
    walk = _Walk(data)
    waiting = [("Model", walk.follow(0))]
    while waiting:
        name, position = waiting.pop()
        waiting += walk.table(name, position)


class _Walk:
    def __init__(self, data: bytes):
        self._data = data
        self._tables_left = len(data) // _SMALLEST_TABLE
        self._bytes_left = len(data) * _SHARING
        self._sound_vtables: dict[int, tuple[int, tuple[int, ...]]] = {}

    def table(self, name: str, position: int) -> list[tuple[str, int]]:
        """Checks one table; returns the tables that it leads to."""
        length, offsets = self._vtable(position - self._read("<i", position, name))
        self._require(position + length <= len(self._data), name)
        found = []
        for kind, offset in zip(_SCHEMA[name], offsets, strict=False):
            if offset and kind is not None:
                self._require(offset + (kind if isinstance(kind, int) else 4) <= length, name)
                found += self._field(kind, position + offset, name)
        return found

    def follow(self, position: int) -> int:
        """Where the offset at this position leads."""
        return position + self._read("<I", position, "offset")

    def _field(self, kind, position: int, name: str) -> list[tuple[str, int]]:
        if isinstance(kind, int):
            return []
        target = self.follow(position)
        if kind == _STRING:
            self._vector(target, 1, name)
        elif kind[0] == "vector":
            self._vector(target, kind[1], name)
        elif kind[0] == "table":
            self._count(1)
            return [(kind[1], target)]
        else:
            count = self._vector(target, 4, name)
            self._count(count)
            return [(kind[1], self.follow(target + 4 + 4 * i)) for i in range(count)]
        return []

    def _count(self, tables: int) -> None:
        self._tables_left -= tables
        if self._tables_left < 0:
            raise InvalidModelError("a broken flatbuffer: more tables than the file has room for.")

    def _vector(self, position: int, size: int, name: str) -> int:
        count = self._read("<I", position, name)
        self._require(position + 4 + count * size <= len(self._data), name)
        self._bytes_left -= count * size
        if self._bytes_left < 0:
            raise InvalidModelError("a broken flatbuffer: more vectors than the file has room for.")
        return count

    def _vtable(self, position: int) -> tuple[int, tuple[int, ...]]:
        """Size of its tables, and where in them each field lies; checked once for each vtable."""
        if position not in self._sound_vtables:
            size = self._read("<H", position, "vtable")
            length = self._read("<H", position + 2, "vtable")
            sound = size >= 4 and size % 2 == 0 and position + size <= len(self._data)
            self._require(sound and length >= 4, "vtable")
            offsets = struct.unpack_from(f"<{(size - 4) // 2}H", self._data, position + 4)
            self._require(all(offset < length for offset in offsets), "vtable")
            self._sound_vtables[position] = (length, offsets)
        return self._sound_vtables[position]

    def _read(self, form: str, position: int, name: str) -> int:
        size = struct.calcsize(form)
        self._require(position >= 0 and position + size <= len(self._data), name)
        return struct.unpack_from(form, self._data, position)[0]

    def _require(self, condition: bool, name: str) -> None:
        if not condition:
            raise InvalidModelError(
                f"cut short or a broken flatbuffer: an offset in {name} leaves the file."
            )
