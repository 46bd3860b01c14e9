"""`mobilequant calibrate`: ranges of a quantized model from images, without training."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files
from mobilequant.cli.commands.quantize import CALIBRATION_IMAGES
from mobilequant.cli.errors import UsageError

HELP = "measure the ranges of a quantized model on images"

DESCRIPTION = """\
Runs training images through a quantized model and sets the range of every activation from what
it sees. No training: the weights stay as they are, unless --reconstruct chooses their integers."""

EXAMPLES = """\
  mobilequant calibrate q.keras --data digits -o calibrated.keras
  mobilequant calibrate q.keras --data cifar10 --images 512 -o q.keras
  mobilequant calibrate q.keras --data photos/ --method percentile --percentile 99.9 -o q.keras
  mobilequant calibrate w4a8.keras --data photos/ --batch-norm -o q.keras
  mobilequant calibrate w4a8.keras --data photos/ --reconstruct -o q.keras
  mobilequant calibrate q.keras --method data_free -o q.keras"""

#: Steps of each block.
STEPS = 1000

# Without TensorFlow there is no table of methods to read; a test holds the two together.
METHODS = ("minmax", "moving_average", "percentile", "mse", "data_free")


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("model", metavar="Q.keras", help="the quantized model")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT.keras",
        help="the calibrated model to write; may be the same file",
    )
    args.add_data(parser, required=False, use="images to measure ranges on")
    parser.add_argument(
        "--images",
        type=args.count,
        default=CALIBRATION_IMAGES,
        metavar="N",
        help=f"how many training images are used (default: {CALIBRATION_IMAGES})",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="minmax",
        help="minmax: smallest and largest value seen (default); moving_average: the average of "
        "those of the batches; percentile: all but the outermost values; mse: the smallest "
        "squared error, for less than 8 bits; data_free: from the statistics of batch "
        "normalization, without --data",
    )
    parser.add_argument(
        "--percentile",
        type=args.positive,
        metavar="P",
        help="with --method percentile: percent of all values that ranges hold (default: 99.99)",
    )
    parser.add_argument(
        "--input-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="with --method data_free: what the model takes (default: -1 1)",
    )
    parser.add_argument(
        "--batch-norm",
        action="store_true",
        help="also measure the statistics of batch normalization anew, behind the quantized "
        "weights: for weights of 4 bits and less",
    )
    parser.add_argument(
        "--reconstruct",
        action="store_true",
        help="before the ranges, learn without labels how weights of less than 8 bits are rounded, "
        "so that each block of layers gives what it gave in float: minutes, and most of what 4 "
        "bits cost is back",
    )
    parser.add_argument(
        "--steps",
        type=args.count,
        metavar="N",
        help=f"with --reconstruct: training steps of each block (default: {STEPS})",
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Calibrates and saves."""
    data_free = arguments.method == "data_free"
    if data_free == bool(arguments.data):
        raise UsageError(
            "--method data_free takes no --data"
            if data_free
            else f"--method {arguments.method} needs images: --data"
        )
    if data_free and arguments.batch_norm:
        raise UsageError("--batch-norm needs images: --method data_free starts from its statistics")
    if arguments.reconstruct and (data_free or arguments.batch_norm):
        raise UsageError(
            "--reconstruct needs images: --data"
            if data_free
            else "--reconstruct keeps the statistics of batch normalization: leave out --batch-norm"
        )
    if arguments.steps and not arguments.reconstruct:
        raise UsageError("--steps goes with --reconstruct")
    source = files.check_input(arguments.model, ".keras")
    output = files.check_output(arguments.output, ".keras")

    from mobilequant.cli.calibration import calibrate
    from mobilequant.cli.quiet import import_tensorflow

    import_tensorflow()
    qmodel = files.load_quantized_model(source)
    options = {
        "method": arguments.method,
        "percentile": arguments.percentile,
        "input_range": arguments.input_range,
        "batch_norm": arguments.batch_norm,
    }
    steps = (arguments.steps or STEPS) if arguments.reconstruct else None
    images = calibrate(arguments, qmodel, source, arguments.images, reconstruct=steps, **options)
    size = files.save_model(qmodel, output)
    result = {
        "path": str(output),
        "size": size,
        "data": arguments.data,
        "calibration_images": images,
        "method": arguments.method,
        "reconstruct": steps,
    }
    seen = f"{images} images of {arguments.data}" if images else "batch normalization, without data"
    weights = "weights rounded block by block, " if arguments.reconstruct else ""
    text = f"{output}: {weights}ranges from {seen} ({console.size(size)})"
    console.print_result(result, text, arguments.json)
