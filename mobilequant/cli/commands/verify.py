"""`mobilequant verify`: a quantized model against its `.tflite` file, image by image."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, datasets, files
from mobilequant.cli.errors import ContractBroken

HELP = "compare a quantized model with its .tflite file on real images"

DESCRIPTION = """\
Runs the Keras model and the file on the test images, counts where their integers differ, and
measures the file: its accuracy, mean IoU or mean average precision. The contract: every integer
equal (after a softmax: within what the target allows). Exit code 1 where it is broken, so that a
build can stop there."""

EXAMPLES = """\
  mobilequant verify q.keras model.tflite --data digits
  mobilequant verify q.keras model.tflite --data cifar10 --limit 500 --layers
  mobilequant verify q.keras model.tflite --data photos/ --json > agreement.json"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("model", metavar="Q.keras", help="the quantized model")
    parser.add_argument("file", metavar="M.tflite", help="the file that was made from it")
    args.add_data(parser, required=True, use="images to compare on")
    parser.add_argument(
        "--limit", type=args.count, metavar="N", help="only the first N test images (default: all)"
    )
    parser.add_argument(
        "--batch-size", type=args.count, metavar="N", help="default: 32; 8 for boxes and masks"
    )
    parser.add_argument(
        "--layers", action="store_true", help="compare every inner tensor as well (slower)"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Verifies, prints, and raises `ContractBroken` where the file is not the model."""
    source = files.check_input(arguments.model, ".keras")
    path = files.check_input(arguments.file, ".tflite")

    from mobilequant.cli.quiet import import_tensorflow, quiet

    import_tensorflow()
    import tflite_tools
    from mobilequant.cli import contract, measuring
    from mobilequant.cli.running import FileRunner

    qmodel = files.load_quantized_model(source)
    data, task = datasets.test_images(
        arguments, qmodel, source, limit=arguments.limit, batch_size=arguments.batch_size
    )
    task.check(qmodel, data, source)
    console.note(f"comparing on {data.sizes['test']} images of {data.name}")
    with quiet():
        agreement = tflite_tools.verify(qmodel, path, data.test, layers=arguments.layers)
        measured = task.measure(qmodel, FileRunner(path, like=qmodel), data)
    broken = contract.first_breach(agreement)
    result = {
        **agreement.to_dict(),
        **measuring.keyed(measured, "file"),
        "contract": broken is None,
    }
    lines = [str(agreement), *measuring.lines(task, measured, "{} of the file: {}")]
    if broken is None:
        lines.append("the contract holds: the file computes what Keras computes")
    console.print_result(result, "\n".join(lines), arguments.json)
    if broken is not None:
        raise ContractBroken(f"{path} breaks the contract: {broken}")
