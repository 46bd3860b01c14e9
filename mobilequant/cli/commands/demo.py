"""`mobilequant demo`: the whole line, from scanned digits to a verified file, in minutes."""

from __future__ import annotations

from pathlib import Path

from mobilequant.cli import arguments as args
from mobilequant.cli.errors import UsageError

HELP = "train, quantize, convert, verify and measure a small network in 3 minutes"

DESCRIPTION = """\
Trains a small MobileNetV2 on scikit-learn's scanned digits (nothing is downloaded), quantizes and
fine-tunes it, writes an integer-only .tflite file, compares it with Keras on every test image,
measures it, and ends with a table."""

EXAMPLES = """\
  mobilequant demo
  mobilequant demo --output /tmp/digits
  mobilequant demo --json > demo.json"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "--output",
        default="mobilequant-demo",
        metavar="DIR",
        help="folder for the models and the file (default: ./mobilequant-demo)",
    )
    parser.add_argument(
        "--epochs", type=args.count, default=7, metavar="N", help="in float (default: 7)"
    )
    parser.add_argument(
        "--quantized-epochs",
        type=args.count,
        default=2,
        metavar="N",
        help="of fine-tuning, the last with frozen ranges (default: 2)",
    )
    parser.add_argument(
        "--limit", type=args.count, metavar="N", help="only N images of each part, to try it out"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Runs the demo."""
    folder = Path(arguments.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the output {folder} cannot be made: {error.strerror}") from error

    from mobilequant.cli.demonstration import Demonstration

    Demonstration(arguments, folder).run()
