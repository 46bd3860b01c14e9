"""`mobilequant inspect`: what is in a `.tflite` file."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files

HELP = "show what is in a .tflite file"

DESCRIPTION = "Shows inputs, outputs, operators with their versions, types and sizes of any file."

EXAMPLES = """\
  mobilequant inspect model.tflite
  mobilequant inspect model.tflite --json | python -m json.tool"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("file", metavar="M.tflite", help="the file, by whomever it was written")
    args.add_json(parser)


def run(arguments) -> None:
    """Inspects."""
    path = files.check_input(arguments.file, ".tflite")

    import tflite_tools

    found = tflite_tools.inspect(path)
    console.print_result(found.to_dict(), str(found), arguments.json)
