"""Files are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path in the same folder, which becomes `path` if all goes well.

    The temporary file has the same ending, which tells writers the format. After an error or
    ctrl-C it is gone, and what was at `path` is still there.
    """
    path = Path(os.path.realpath(path))  # the file itself gets replaced, not a link to it
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
