"""`mobilequant models`: the garden as a table."""

from __future__ import annotations

import fnmatch

from mobilequant.cli import arguments as args
from mobilequant.cli import console, garden
from mobilequant.cli.errors import UsageError

HELP = "list the models of the garden: parameters, multiply-adds, int8 size"

DESCRIPTION = """\
Lists the models that mobilequant.models builds, each at the input size it was made for, with 1000
classes: parameters (moving statistics included), multiply-adds of convolutions and dense layers,
size of the int8 .tflite file, and the share of its operators that an Edge TPU maps (where it is
not 100 %, quantizing for the Edge TPU says by name what stands in the way)."""

EXAMPLES = """\
  mobilequant models
  mobilequant models "*V4*"
  mobilequant models --json"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("pattern", nargs="?", default="*", help='names to list, such as "*V3*"')
    args.add_json(parser)


def run(arguments) -> None:
    """Lists."""
    wanted = arguments.pattern.lower()
    found = [e for e in garden.entries() if fnmatch.fnmatch(e["name"].lower(), wanted)]
    if not found:
        raise UsageError(
            f"no model is named like {arguments.pattern!r}; `mobilequant models` lists all"
        )
    console.print_result({"models": found}, _table(found), arguments.json)


def _table(found):
    head = ("model", "input", "parameters", "multiply-adds", "int8 file", "on an Edge TPU")
    rows = [
        (
            entry["name"],
            f"{entry['input_size']} px",
            f"{entry['parameters'] / 1e6:.2f} M",
            f"{entry['multiply_adds'] / 1e6:,.0f} M",
            f"{entry['int8_bytes'] / 1e6:.2f} MB",
            f"{100 * entry['edgetpu_share']:.0f} %",
        )
        for entry in found
    ]
    return console.table(head, rows)
