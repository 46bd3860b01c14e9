"""Plain text tables for results that people read."""

from __future__ import annotations

from collections.abc import Collection, Sequence

#: Of names that are longer the beginning is left out: their ends tell more.
_LONGEST_NAME = 48


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str] | None = None
) -> str:
    """Columns as wide as they need, numbers to the right.

    Args:
        header: Names of the columns.
        rows: Cells as text, one for each column.
        left: Names of the columns of text, set to the left; by default the first one.
    """
    left = header[:1] if left is None else left
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells):
        return "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for cell, width, name in zip(cells, widths, header, strict=True)
        ).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def shorten(text: str, longest: int = _LONGEST_NAME) -> str:
    """A name from a file for people: on one line, without control characters, not too long."""
    printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[-(longest + 1) :])
    return printable if len(printable) <= longest else "…" + printable[1 - longest :]
