"""`mobilequant quantize`: a float model in, a quantized model out."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files
from mobilequant.cli.errors import UsageError

HELP = "turn a float .keras model into a quantized one"

DESCRIPTION = """\
Writes a quantized copy of a float Keras model (functional or Sequential). The copy has no ranges
yet: give --data to measure them now, or train it (mobilequant train --model QUANTIZED.keras)."""

EXAMPLES = """\
  mobilequant quantize float.keras -o q.keras
  mobilequant quantize float.keras -o q.keras --target edgetpu --estimator ste
  mobilequant quantize float.keras -o q.keras --data photos/ --calibrate 128
  mobilequant quantize float.keras -o q.keras --data photos/ --recipe w4a8"""

CALIBRATION_IMAGES = 256


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("model", metavar="MODEL.keras", help="the float model")
    parser.add_argument(
        "-o", "--output", required=True, metavar="Q.keras", help="the quantized model to write"
    )
    parser.add_argument(
        "--recipe",
        default="w8a8",
        help="bits of weights and activations: w8a8 (default), w4a8, w2a8, ternary-a8, sparse "
        "w8a8-2:4 and w8a8-50%%; w4a4, w2a2, w1a1 stay in Keras",
    )
    args.add_recipe(parser)
    parser.add_argument(
        "--leave-float",
        action="append",
        default=[],
        metavar="LAYER",
        help="name of a layer that stays float, or a pattern (head_*); may come several times",
    )
    args.add_data(parser, required=False, use="images to measure ranges on, without training")
    parser.add_argument(
        "--calibrate",
        type=args.count,
        metavar="N",
        help=f"how many training images are used (default: {CALIBRATION_IMAGES}); needs --data",
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Quantizes, calibrates if asked to, and saves."""
    source = files.check_input(arguments.model, ".keras")
    output = files.check_output(arguments.output, ".keras")
    if arguments.calibrate and not arguments.data:
        raise UsageError("--calibrate needs images; name them with --data")
    if arguments.data_dir and not arguments.data:
        raise UsageError("--data-dir needs --data")

    from mobilequant.cli.calibration import calibrate
    from mobilequant.cli.quiet import import_tensorflow

    import_tensorflow()
    from mobilequant.quantize import quantize
    from mobilequant.quantize.state import quantized_layers

    model = files.load_model(source)
    qmodel = quantize(
        model,
        arguments.recipe,
        target=arguments.target or "phone",
        estimator=arguments.estimator,
        leave_float=arguments.leave_float,
    )
    images = 0
    if arguments.data:
        images = calibrate(arguments, qmodel, source, arguments.calibrate or CALIBRATION_IMAGES)
    size = files.save_model(qmodel, output)
    result = {
        "path": str(output),
        "size": size,
        "recipe": arguments.recipe,
        "target": arguments.target or "phone",
        "quantized_layers": len(quantized_layers(qmodel)),
        "calibration_images": images,
    }
    ranges = f"ranges from {images} images" if images else "no ranges yet: calibrate or train it"
    text = (
        f"{output}: {result['recipe']} for {result['target']}, "
        f"{result['quantized_layers']} quantized layers, {ranges} ({console.size(size)})"
    )
    console.print_result(result, text, arguments.json)
