"""What users see: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def progress_console() -> Console:
    """For progress and notes, on stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """One line about what goes on, on stderr."""
    progress_console().print(text, markup=False)


def print_result(result: dict, text: str, as_json: bool) -> None:
    """Prints the result of a command on stdout: `text` for people, or `result` as JSON."""
    if as_json:
        json.dump(result, sys.stdout, indent=2, allow_nan=False)
        print(flush=True)
    else:
        print(text, flush=True)


def percent(share: float) -> str:
    """0.98765 as "98.77 %"."""
    return f"{100 * share:.2f} %"


def size(number: int) -> str:
    """Bytes for people, in thousands."""
    return f"{number / 1000:,.0f} kB" if number >= 10_000 else f"{number:,} B"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left, the others to the right."""
    found = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, name in enumerate(head):
        found.add_column(name, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        found.add_row(*row)
    printer = Console(width=200, highlight=False, color_system=None)
    with printer.capture() as capture:
        printer.print(found)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())
