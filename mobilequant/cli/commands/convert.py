"""`mobilequant convert`: a quantized model in, a checked `.tflite` file out."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, datasets, files, labels, postprocessing
from mobilequant.cli.errors import UsageError

HELP = "write a quantized model as an integer-only .tflite file"

DESCRIPTION = """\
Writes the .tflite file of a quantized model that has ranges (calibrated or trained). The file is
checked before it is written: operators, types, and agreement with Keras on a few images. If
anything is wrong nothing is written, and a file that was there stays."""

EXAMPLES = """\
  mobilequant convert q.keras -o model.tflite
  mobilequant convert q.keras -o model.tflite --interface uint8
  mobilequant convert q.keras -o model.tflite --data cifar10 --images 64
  mobilequant convert q.keras -o model.tflite --labels labels.txt   # opens in MediaPipe
  mobilequant convert detector.keras -o boxes.tflite --postprocess --max-detections 25"""

CHECK_IMAGES = 16


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("model", metavar="Q.keras", help="the quantized model")
    parser.add_argument(
        "-o", "--output", required=True, metavar="M.tflite", help="the file to write"
    )
    args.add_target(parser, "another device of the model's kind (default: the model's own)")
    parser.add_argument(
        "--interface",
        choices=args.INTERFACES,
        help="type of the file's inputs and outputs (default: the target's first, int8)",
    )
    parser.add_argument(
        "--batch-size",
        type=args.count,
        default=1,
        metavar="N",
        help="fixed first dimension of the file (default: 1)",
    )
    parser.add_argument(
        "--allow-float",
        action="store_true",
        help="write a mixed file where layers were left in float (default: refuse)",
    )
    parser.add_argument(
        "--labels",
        metavar="TXT",
        help="write metadata for MediaPipe: names of the classes, one a line, and that pixels are "
        "scaled to [-1, 1]; the interface is then uint8 (`mobilequant metadata` says more)",
    )
    args.add_data(parser, required=False, use="images for the check (default: random ones)")
    parser.add_argument(
        "--images",
        type=args.count,
        metavar="N",
        help=f"how many of them are used (default: {CHECK_IMAGES}); needs --data",
    )
    postprocessing.add_arguments(parser)
    args.add_json(parser)


def run(arguments) -> None:
    """Converts."""
    source = files.check_input(arguments.model, ".keras")
    output = files.check_output(arguments.output, ".tflite")
    if (arguments.images or arguments.data_dir) and not arguments.data:
        raise UsageError("--images and --data-dir need --data")
    postprocessing.require_sense(arguments)
    names = labels.read(arguments.labels) if arguments.labels else None

    from mobilequant.cli.quiet import import_tensorflow, quiet

    import_tensorflow()
    import tflite_tools

    qmodel = files.load_quantized_model(source)
    postprocess = postprocessing.requested(arguments, qmodel, source)
    samples = None
    if arguments.data:
        images = arguments.images or CHECK_IMAGES
        samples = datasets.test_images(arguments, qmodel, source, limit=images)[0].test
    metadata = names and _metadata(qmodel, names, arguments)
    with quiet():
        report = tflite_tools.convert(
            qmodel,
            output,
            target=arguments.target,
            interface=arguments.interface,
            batch_size=arguments.batch_size,
            samples=samples,
            allow_float=arguments.allow_float,
            postprocess=postprocess,
            metadata=metadata,
        )
    console.print_result(report.to_dict(), str(report), arguments.json)


def _metadata(qmodel, names, arguments):
    """What the file tells apps of its classes."""
    from mobilequant.cli import tasks
    from tflite_tools import metadata

    task = tasks.of_model(qmodel, arguments.task).NAME
    if task == "detection" and not arguments.postprocess:
        raise UsageError("--labels of a detector need --postprocess: apps do not decode boxes")
    return metadata.TASKS[task](labels=names)
