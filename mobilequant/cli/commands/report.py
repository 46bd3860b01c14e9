"""`mobilequant report`: everything about a `.tflite` file on one HTML page."""

from __future__ import annotations

import json
import zipfile

from mobilequant.cli import arguments as args
from mobilequant.cli import console, datasets, files
from mobilequant.cli.errors import ContractBroken, UsageError

HELP = "write one HTML page with everything about a .tflite file"

DESCRIPTION = """\
Writes a page that any browser shows, on a phone as well, without a network: what is in the file,
what of it an Edge TPU runs, and its latency here. With the quantized model and test images also
whether the file computes what Keras computes, what quantizing each layer costs, accuracy, and
example predictions; with the float model these side by side. Exit code 1, with the page written,
where the file breaks the contract."""

EXAMPLES = """\
  mobilequant report model.tflite -o report.html
  mobilequant report q.keras model.tflite --data digits -o report.html
  mobilequant report q.keras model.tflite --float float.keras --data photos/ -o report.html
  mobilequant report q.keras model.tflite --data cifar10 --limit 500 --json > report.json"""

EXAMPLE_IMAGES = 6
RUNS = 100


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "model", nargs="?", metavar="Q.keras", help="the quantized model; needs --data"
    )
    parser.add_argument("file", metavar="M.tflite", help="the file; options come behind it")
    parser.add_argument(
        "-o", "--output", metavar="PAGE.html", help="the page to write; or only --json"
    )
    parser.add_argument(
        "--float",
        dest="reference",
        metavar="FLOAT.keras",
        help="the model before it was quantized, to compare accuracy and predictions with",
    )
    args.add_data(parser, required=False, use="test images")
    parser.add_argument(
        "--limit", type=args.count, metavar="N", help="only the first N test images (default: all)"
    )
    parser.add_argument(
        "--examples",
        type=args.count_or_none,
        default=EXAMPLE_IMAGES,
        metavar="N",
        help=f"how many images with predictions (default: {EXAMPLE_IMAGES})",
    )
    parser.add_argument(
        "--no-layer-errors",
        action="store_true",
        help="leave out what quantizing each layer costs, which takes longest",
    )
    parser.add_argument(
        "--runs",
        type=args.count_or_none,
        default=RUNS,
        metavar="N",
        help=f"timed runs for the latency, 0 for none (default: {RUNS})",
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Gathers, writes, and raises `ContractBroken` where the file is not the model."""
    path = files.check_tflite(arguments.file)
    source = files.check_input(arguments.model, ".keras") if arguments.model else None
    reference = files.check_input(arguments.reference, ".keras") if arguments.reference else None
    output = files.check_output(arguments.output, ".html") if arguments.output else None
    _check_usage(arguments)

    import tflite_tools
    from mobilequant.cli.quiet import quiet

    known = _compared(arguments, source, path, reference) if source else {}
    with quiet():
        page = tflite_tools.report(path, output, runs=arguments.runs, **known)
    result = {**page.to_dict(), "output": output and str(output)}
    written = f"{output}: {output.stat().st_size:,} bytes" if output else ""
    console.print_result(result, written, arguments.json)
    if page.agreement is not None and page.agreement.breach is not None:
        from mobilequant.cli import contract

        raise ContractBroken(f"{path} breaks the contract: {contract.first_breach(page.agreement)}")


def _check_usage(arguments) -> None:
    if not arguments.output and not arguments.json:
        raise UsageError("name the page to write with -o PAGE.html, or ask for --json")
    if arguments.model and not arguments.data:
        raise UsageError("a model is compared with its file on images: name them with --data")
    if arguments.data and not arguments.model:
        raise UsageError(
            "--data needs the quantized model as well: mobilequant report Q.keras M.tflite --data …"
        )
    for name in ("reference", "data_dir", "class_names", "void_label", "task", "limit"):
        if getattr(arguments, name) is not None and not arguments.data:
            option = {"reference": "float"}.get(name, name).replace("_", "-")
            raise UsageError(f"--{option} needs --data")


def _compared(arguments, source, path, reference) -> dict:
    """What `report` takes beside the file: models run on the data set."""
    from mobilequant.cli.quiet import import_tensorflow, quiet

    import_tensorflow()
    from mobilequant.cli import examples
    from mobilequant.cli.running import FileRunner, ModelRunner

    qmodel = files.load_quantized_model(source)
    data, task = datasets.test_images(arguments, qmodel, source, limit=arguments.limit)
    task.check(qmodel, data, source)
    batches = int(data.test.cardinality())
    seers = {}
    if reference:
        model = files.load_model(reference)
        if datasets.image_shape(model, reference) != datasets.image_shape(qmodel, source):
            raise UsageError(
                f"{reference} takes images of shape {model.input_shape}, {source} of "
                f"{qmodel.input_shape}; give the model that it was quantized from"
            )
        task.check(model, data, reference)
        seers["float model"] = examples.Seer(model, ModelRunner(model, batches))
    console.note(f"measuring on {data.sizes['test']} images of {data.name}")
    with quiet():
        seers["the file"] = examples.Seer(qmodel, FileRunner(path, like=qmodel))
        measures = _measures(task, data, seers)
        seen = examples.collect(seers, task, data, arguments.examples)
    return {
        "qmodel": qmodel,
        "images": data.test,
        "layer_errors": not arguments.no_layer_errors,
        "measures": measures,
        "examples": seen,
        "origin": _origin(source, reference, data),
    }


def _measures(task, data, seers) -> list:
    """What the task measures, of each model."""
    from tflite_tools.reporting import Measure

    measured = {name: task.measure(s.model, s.run, data) for name, s in seers.items()}
    return [
        Measure(label, {name: values[key] for name, values in measured.items()})
        for key, label in task.MEASURES.items()
    ]


def _origin(source, reference, data) -> dict[str, str]:
    models = {"Quantized model": source, "Float model": reference}
    lines = {name: _model_line(path) for name, path in models.items() if path}
    lines["Test images"] = f"{data.sizes['test']:,} of {data.name}"
    return lines


def _model_line(path) -> str:
    """What a `.keras` file says of itself, and its hash."""
    from tflite_tools.reporting import environment

    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("metadata.json"))
    saved = about["date_saved"].replace("@", " ")
    hash_ = environment.sha256(path)
    return f"{path.name}, saved {saved} by Keras {about['keras_version']}, SHA-256 {hash_}"
