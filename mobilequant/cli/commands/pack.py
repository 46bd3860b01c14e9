"""`mobilequant pack`: weights of 4 bits and less two to a byte."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files

HELP = "make weights of 4 bits and less INT4 in a .tflite file"

DESCRIPTION = """\
Writes a copy of an int8 .tflite file, by whomever it was written, in which weights whose integers
lie within -7 and 7 are INT4, two to a byte. Says sizes on disk and zipped, latency, and how far
the outputs are from those of the file; refuses what is too far.

By default only where LiteRT computes the same integers as fast as before: fully connected layers
and convolutions of 1x1. --where all takes all convolutions, on slower kernels."""

EXAMPLES = """\
  mobilequant quantize float.keras -o q.keras --recipe w4a8 --data photos/
  mobilequant convert q.keras -o model.tflite
  mobilequant pack model.tflite -o small.tflite
  mobilequant pack model.tflite -o smallest.tflite --where all --json"""

WHERE = ("fast", "all")


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("file", metavar="M.tflite", help="the file")
    parser.add_argument(
        "-o", "--output", required=True, metavar="P.tflite", help="the file to write"
    )
    parser.add_argument(
        "--where", choices=WHERE, default="fast", help="which weights (default: fast)"
    )
    parser.add_argument(
        "--runs",
        type=args.count_or_none,
        default=50,
        metavar="N",
        help="timed runs of each file, 0 for none (default: 50)",
    )
    parser.add_argument(
        "--no-check", action="store_true", help="write it however far its outputs are"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Packs."""
    path = files.check_tflite(arguments.file)
    output = files.check_output(arguments.output, ".tflite")

    import tflite_tools
    from mobilequant.cli.quiet import quiet

    with quiet():
        result = tflite_tools.pack(
            path,
            output,
            where=arguments.where,
            runs=arguments.runs,
            check=not arguments.no_check,
        )
    console.print_result(result.to_dict(), str(result), arguments.json)
