"""Files of class names."""

from __future__ import annotations

from pathlib import Path

from mobilequant.cli.errors import UsageError


def read(path: str | Path) -> tuple[str, ...]:
    """The names of classes 0, 1, …: one a line, empty lines at the end aside.

    Raises:
        UsageError: There is no such file, it is no text, or a name is missing.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text file; it must hold one class name a line") from None
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if not names or not all(names):
        raise UsageError(f"{path} must hold one class name a line, none of them empty")
    return names
