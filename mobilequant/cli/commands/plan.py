"""`mobilequant plan`: what of a `.tflite` file an Edge TPU will run."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files
from mobilequant.cli.errors import ContractBroken

HELP = "say what an Edge TPU will run of a .tflite file"

DESCRIPTION = """\
Says of any file which operators Edge TPU compiler 16.0 will map and which stay on the CPU, why, and
what to change; and whether the parameters fit on the chip. It needs no compiler; where
edgetpu_compiler is installed it is run as well, and its log is shown beside the plan."""

EXAMPLES = """\
  mobilequant plan model.tflite
  mobilequant plan model.tflite --require-all        # in a build: exit code 1 if a part stays
  mobilequant plan model.tflite --json | python -m json.tool"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("file", metavar="M.tflite", help="the file, by whomever it was written")
    parser.add_argument(
        "--require-all",
        action="store_true",
        help="exit with 1 unless every operator runs on the Edge TPU",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--compile",
        action="store_const",
        const=True,
        help="run edgetpu_compiler, and fail where there is none (default: where there is one)",
    )
    group.add_argument(
        "--no-compile", dest="compile", action="store_const", const=False, help="do not run it"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Plans, prints, and raises `ContractBroken` where all was required and something stays."""
    path = files.check_tflite(arguments.file)

    from tflite_tools import edgetpu

    found = edgetpu.plan(path, compile=arguments.compile)
    console.print_result(found.to_dict(), str(found), arguments.json)
    if arguments.require_all and not found.complete:
        raise ContractBroken(
            f"{path}: {found.cpu.total()} of {len(found.decisions)} operators stay on the CPU"
        )
