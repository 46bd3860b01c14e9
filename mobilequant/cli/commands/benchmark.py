"""`mobilequant benchmark`: latency of `.tflite` files on this machine."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files

HELP = "measure the latency of .tflite files on this machine"

DESCRIPTION = """\
Measures one inference in LiteRT on this machine's CPU. Several files take turns, so that what
else the machine does falls on all of them."""

EXAMPLES = """\
  mobilequant benchmark model.tflite
  mobilequant benchmark mine.tflite theirs.tflite --runs 300 --threads 2
  mobilequant benchmark model.tflite --no-xnnpack --json"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("files", nargs="+", metavar="M.tflite", help="one file or several")
    parser.add_argument(
        "--threads", type=args.count, default=1, metavar="N", help="CPU threads (default: 1)"
    )
    parser.add_argument(
        "--runs", type=args.count, default=100, metavar="N", help="timed runs (default: 100)"
    )
    parser.add_argument(
        "--warmup",
        type=args.count_or_none,
        default=10,
        metavar="N",
        help="runs before these (default: 10)",
    )
    parser.add_argument(
        "--no-xnnpack", action="store_true", help="LiteRT's built-in kernels instead of XNNPACK"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Measures."""
    paths = [files.check_input(path, ".tflite") for path in arguments.files]

    import tflite_tools
    from mobilequant.cli.quiet import quiet

    with quiet():
        result = tflite_tools.benchmark(
            *paths,
            threads=arguments.threads,
            runs=arguments.runs,
            warmup=arguments.warmup,
            xnnpack=not arguments.no_xnnpack,
        )
    console.print_result(result.to_dict(), str(result), arguments.json)
