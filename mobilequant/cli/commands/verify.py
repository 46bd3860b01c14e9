"""`mobilequant verify`: a quantized model against its `.tflite` file, or a file against another."""

from __future__ import annotations

from pathlib import Path

from mobilequant.cli import arguments as args
from mobilequant.cli import console, datasets, files, two_files
from mobilequant.cli.errors import ContractBroken, UsageError

HELP = "compare a .tflite file with its quantized model, or with another file, on real images"

DESCRIPTION = """\
Runs the Keras model and the file on the test images, counts where their integers differ, and
measures the file: its accuracy, mean IoU or mean average precision. The contract: every integer
equal (after a softmax: within what the target allows). Exit code 1 where it is broken, so that a
build can stop there.

With two .tflite files, whoever wrote them, the second is compared with the first: in quantization
steps where both have the same, else by the real values that their integers stand for. Exit code 1
where a limit is not kept."""

EXAMPLES = """\
  mobilequant verify q.keras model.tflite --data digits
  mobilequant verify q.keras model.tflite --data cifar10 --limit 500 --layers --plot layers.png
  mobilequant verify q.keras model.tflite --data photos/ --json > agreement.json
  mobilequant verify old.tflite new.tflite --data photos/ --layers --max-steps 1
  mobilequant verify float.tflite int8.tflite --min-top1 0.9
  mobilequant verify q.keras sensors.tflite --input windows.npy --no-xnnpack"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "model", metavar="Q.keras", help="the quantized model, or the .tflite file to compare with"
    )
    parser.add_argument("file", metavar="M.tflite", help="the file")
    args.add_data(
        parser, required=False, use="images to compare on (two files: random ones without it)"
    )
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="instead of --data real values, batch first: a .npy file, or a .npz file with an "
        "array for each input by its name",
    )
    parser.add_argument(
        "--limit", type=args.count, metavar="N", help="only the first N test images (default: all)"
    )
    parser.add_argument(
        "--batch-size", type=args.count, metavar="N", help="default: 32; 8 for boxes and masks"
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="compare every inner tensor as well (slower); two files: those of the same name",
    )
    parser.add_argument(
        "--no-xnnpack", action="store_true", help="LiteRT's built-in kernels instead of XNNPACK"
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="draw which integers each tensor takes and what differs: a .png, .pdf or .svg file",
    )
    two_files.add_arguments(parser)
    args.add_json(parser)


def run(arguments) -> None:
    """Verifies, prints, and raises `ContractBroken` where the file is not the model."""
    against_file = Path(arguments.model).suffix != ".keras"
    source = files.check_model(arguments.model)
    path = files.check_tflite(arguments.file)
    _require_sense(arguments, against_file)

    if arguments.plot:
        from mobilequant import drawing

        drawing.check_path(arguments.plot)
    if against_file:
        two_files.run(arguments, source, path)
    else:
        _against_keras(arguments, source, path)


def _require_sense(arguments, against_file: bool) -> None:
    if arguments.data and arguments.input:
        raise UsageError("--data and --input: give one of the two")
    if not against_file:
        if not arguments.data and not arguments.input:
            raise UsageError("name images to compare on with --data, or arrays with --input")
        for name in two_files.limits(arguments):
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option} is for two .tflite files; between a model and its file the target's "
                "contract is the limit"
            )
    if not arguments.data and (arguments.limit or arguments.data_dir):
        raise UsageError("--limit and --data-dir need --data")


def _against_keras(arguments, source: Path, path: Path) -> None:
    from mobilequant.cli.quiet import import_tensorflow, quiet

    import_tensorflow()
    import tflite_tools
    from mobilequant.cli import contract, measuring
    from mobilequant.cli.running import FileRunner

    options = {"layers": arguments.layers, "kernels": two_files.kernels(arguments)}
    qmodel = files.load_quantized_model(
        source,
        otherwise="to compare a float model, write it as a float file "
        "(tf.lite.TFLiteConverter.from_keras_model) and run "
        f"mobilequant verify FLOAT.tflite {path}",
    )
    task, measured = None, {}
    if arguments.input:
        images = two_files.arrays_of(arguments)
        with quiet():
            agreement = tflite_tools.verify(qmodel, path, images, **options)
    else:
        data, task = datasets.test_images(
            arguments, qmodel, source, limit=arguments.limit, batch_size=arguments.batch_size
        )
        task.check(qmodel, data, source)
        console.note(f"comparing on {data.sizes['test']} images of {data.name}")
        with quiet():
            agreement = tflite_tools.verify(qmodel, path, data.test, **options)
            run_file = FileRunner(path, like=qmodel, kernels=options["kernels"])
            measured = task.measure(qmodel, run_file, data)
    broken = contract.first_breach(agreement)
    if arguments.plot:
        agreement.plot(arguments.plot)
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
