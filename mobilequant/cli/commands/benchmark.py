"""`mobilequant benchmark`: times and memory of `.tflite` files, on this machine or on a phone."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import arrays, console, files
from mobilequant.cli.errors import UsageError

HELP = "measure times and memory of .tflite files, on this machine or on a phone"

DESCRIPTION = """\
Measures one inference in LiteRT on this machine's CPU, loading the file and the first inference,
and the memory that it takes. Several files take turns, so that what else the machine does falls on
all of them; each runs in a process of its own.

With --adb LiteRT's own benchmark_model, built for the phone, runs there; with --binary one that is
built for this machine runs here. It can be had at
https://ai.google.dev/edge/litert/models/measurement"""

EXAMPLES = """\
  mobilequant benchmark model.tflite
  mobilequant benchmark mine.tflite theirs.tflite --runs 300 --threads 2 --plot latency.png
  mobilequant benchmark model.tflite --both --profile --json
  mobilequant benchmark model_edgetpu.tflite --delegate libedgetpu.so.1
  mobilequant benchmark model.tflite --adb android_aarch64_benchmark_model"""


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
    kernels = parser.add_mutually_exclusive_group()
    kernels.add_argument(
        "--no-xnnpack", action="store_true", help="LiteRT's built-in kernels instead of XNNPACK"
    )
    kernels.add_argument("--both", action="store_true", help="with XNNPACK and without, in turn")
    where = parser.add_argument_group("where").add_mutually_exclusive_group()
    where.add_argument(
        "--delegate",
        metavar="LIBRARY",
        help="a LiteRT delegate, such as libedgetpu.so.1 (files for the Edge TPU get that one)",
    )
    where.add_argument(
        "--adb", metavar="BINARY", help="run LiteRT's benchmark_model on an attached Android device"
    )
    where.add_argument("--binary", metavar="BINARY", help="run LiteRT's benchmark_model here")
    parser.add_argument(
        "--serial", metavar="ID", help="which device, where several are attached; needs --adb"
    )
    parser.add_argument(
        "--profile", action="store_true", help="measure every operator as well, in runs of its own"
    )
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="real values, batch first: a .npy file, or a .npz file with an array for each input "
        "by its name (default: random ones)",
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="draw times and their spread: a .png, .pdf or .svg file"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Measures."""
    paths = [files.check_tflite(path) for path in arguments.files]
    if arguments.serial and not arguments.adb:
        raise UsageError("--serial needs --adb")
    binary = arguments.adb or arguments.binary
    if binary and arguments.input:
        raise UsageError("benchmark_model makes its own inputs: leave --input out")
    images = arrays.read(arguments.input) if arguments.input else None

    import tflite_tools
    from mobilequant import drawing

    if arguments.plot:
        drawing.check_path(arguments.plot)
    options = {
        "threads": arguments.threads,
        "runs": arguments.runs,
        "warmup": arguments.warmup,
        "xnnpack": "both" if arguments.both else not arguments.no_xnnpack,
        "profile": arguments.profile,
    }
    if binary:
        result = tflite_tools.benchmark_on_device(
            *paths,
            binary=binary,
            adb=arguments.adb is not None,
            serial=arguments.serial,
            **options,
        )
    else:
        result = tflite_tools.benchmark(
            *paths, delegate=arguments.delegate, images=images, **options
        )
    if arguments.plot:
        result.plot(arguments.plot)
    console.print_result({**result.to_dict(), "plot": arguments.plot}, str(result), arguments.json)
