"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from tflite_tools.errors import ConversionError


def writable(path: str | os.PathLike, overwrite: bool) -> Path:
    """The place of a file that can be written; a link's is that of the file it leads to.

    Raises:
        ConversionError: It cannot, or it is there and must not be replaced.
    """
    # The file itself, not a link to it, is what gets replaced.
    resolved = Path(os.path.realpath(path))
    if resolved.is_dir():
        raise ConversionError(f"{path}: is a directory; name a file to write.")
    if not resolved.parent.is_dir():
        raise ConversionError(f"{path}: there is no folder {resolved.parent}; make it first.")
    if not os.access(resolved.parent, os.W_OK | os.X_OK):
        raise ConversionError(f"{path}: the folder {resolved.parent} cannot be written to.")
    if resolved.exists():
        if not overwrite:
            raise ConversionError(f"{path}: exists already, and overwrite=False.")
        if not os.access(resolved, os.W_OK):
            raise ConversionError(f"{path}: exists and is write-protected.")
    return resolved


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, also if the process is interrupted.

    Raises:
        ConversionError: It cannot be written; a file that was there stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise ConversionError(f"{path}: cannot be written: {error.strerror}.") from error
    finally:
        # After the replacement there is none; KeyboardInterrupt comes through here as well.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
