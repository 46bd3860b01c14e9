"""Associated files: a zip archive behind the flatbuffer, in the same file.

Runtimes map them into memory as they are, so that nothing in the archive may be compressed.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Mapping

from tflite_tools.errors import InvalidModelError

#: Files are read up to this size; labels are far smaller.
LARGEST = 16 * 2**20

#: What `zipfile` raises on broken archives, beside `zipfile.BadZipFile`.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    EOFError,
)


def append(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """A model's bytes with files behind them.

    Args:
        model: The flatbuffer, without an archive.
        files: Name and content of each.
    """
    if not files:
        return model
    whole = io.BytesIO()
    whole.write(model)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            # Without a date of its own, equal input gives equal bytes.
            archive.writestr(zipfile.ZipInfo(name), content)
    return whole.getvalue()


def sizes(data: bytes) -> dict[str, int]:
    """Name and bytes of each associated file; empty where there is no archive."""
    with _opened(data) as archive:
        return {i.filename: i.file_size for i in archive.infolist()} if archive else {}


def read(data: bytes, name: str) -> bytes | None:
    """The content of an associated file, None where there is none of that name.

    Args:
        data: The whole `.tflite` file.
        name: Of the associated file.

    Raises:
        InvalidModelError: The archive is broken, or the file larger than `LARGEST`.
    """
    with _opened(data) as archive:
        if archive is None or name not in archive.namelist():
            return None
        if archive.getinfo(name).file_size > LARGEST:
            raise InvalidModelError(f"the associated file {name!r} has more than {LARGEST} bytes.")
        try:
            return archive.read(name)
        except _BROKEN as error:
            raise InvalidModelError(f"the associated file {name!r} is broken ({error}).") from error


@contextlib.contextmanager
def _opened(data: bytes):
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN:
        # Weights may look like the end of an archive; what is none holds no files.
        yield None
        return
    with archive:
        yield archive
