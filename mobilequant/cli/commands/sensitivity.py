"""`mobilequant sensitivity`: which layers the accuracy is lost in."""

from __future__ import annotations

import contextlib
import sys

from mobilequant.cli import arguments as args
from mobilequant.cli import console, datasets, files
from mobilequant.cli.errors import UsageError

HELP = "rank the layers of a quantized model by what quantizing each one costs"

DESCRIPTION = """\
Quantizes every layer alone, everything else in float, and compares the outputs with those of the
float model: the first thing to look at where accuracy drops. The worst layers come first; give
them more bits (Recipe overrides in Python: Sensitivity.recipe), or train longer. No file for a
device and no training is needed; the model stays as it is. SNR is the signal-to-noise ratio of
the outputs: 20 dB less is ten times the error; "exact" is no error at all."""

EXAMPLES = """\
  mobilequant sensitivity q.keras --data digits
  mobilequant sensitivity q.keras --data cifar10 --mode except --accuracy --plot costs.png
  mobilequant sensitivity q.keras --data photos/ --part weights --images 16 --json > costs.json"""

IMAGES = 32


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("model", metavar="Q.keras", help="the quantized model, with its ranges")
    args.add_data(parser, required=True, use="images to run through the model")
    parser.add_argument(
        "--images",
        type=args.count,
        default=IMAGES,
        metavar="N",
        help=f"how many test images are used; time grows with them (default: {IMAGES})",
    )
    parser.add_argument(
        "--mode",
        choices=("only", "except"),
        default="only",
        help="quantize only one layer (default), or all layers except one: what its return to "
        "float would bring",
    )
    parser.add_argument(
        "--part",
        choices=("all", "weights", "activations"),
        default="all",
        help="what of the layers is quantized (default: all)",
    )
    parser.add_argument(
        "--accuracy",
        action="store_true",
        help="measure the accuracy of each variant too; differences want some hundred images",
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="write a bar chart: a .png, .pdf or .svg file"
    )
    parser.add_argument(
        "--top", type=args.count, metavar="N", help="print only the N worst layers (default: all)"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Measures, prints, draws."""
    source = files.check_input(arguments.model, ".keras")

    from mobilequant import drawing

    if arguments.plot:
        drawing.check_path(arguments.plot)

    from mobilequant.cli.quiet import import_tensorflow

    import_tensorflow()
    from mobilequant.quantize import sensitivity

    qmodel = files.load_quantized_model(source)
    data, task = datasets.test_images(arguments, qmodel, source, limit=arguments.images)
    if arguments.accuracy:
        if task.NAME != "classification":
            raise UsageError(f"--accuracy is for classification; {source} is for {task.NAME}")
        task.check(qmodel, data, source)
    console.note(f"every layer in turn on {data.sizes['test']} images of {data.name}")
    # Keras draws its progress bar on stdout, which is for the result.
    with contextlib.redirect_stdout(sys.stderr):
        costs = sensitivity(
            qmodel,
            data.test,
            mode=arguments.mode,
            part=arguments.part,
            metric="accuracy" if arguments.accuracy else None,
            verbose=int(sys.stderr.isatty()),
        )
    if arguments.plot:
        costs.plot(arguments.plot)
    result = {**costs.to_dict(), "plot": arguments.plot}
    console.print_result(result, costs.table(arguments.top), arguments.json)
