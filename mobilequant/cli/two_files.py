"""`mobilequant verify` of two `.tflite` files, without Keras."""

from __future__ import annotations

from pathlib import Path

from mobilequant.cli import arrays, console, datasets
from mobilequant.cli.errors import ContractBroken, UsageError

#: Options that set a limit, and what `FileComparison.breach` calls them.
LIMITS = ("max_steps", "max_error", "min_equal", "min_top1")


def add_arguments(parser) -> None:
    """Adds what is for two files alone."""
    from mobilequant.cli import arguments as args

    group = parser.add_argument_group("limits of two .tflite files, exit code 1 beyond them")
    group.add_argument(
        "--max-steps",
        type=args.count_or_none,
        metavar="N",
        help="most steps that an output may differ by",
    )
    group.add_argument(
        "--max-error",
        type=args.positive,
        metavar="E",
        help="most that its real values may differ by, where the files quantize it differently",
    )
    group.add_argument(
        "--min-equal",
        type=args.whole_share,
        metavar="S",
        help="least share of the output elements that are equal, 0 to 1",
    )
    group.add_argument(
        "--min-top1",
        type=args.whole_share,
        metavar="S",
        help="least share of images with the same top-1 class, 0 to 1",
    )


def limits(arguments) -> dict:
    """The limits that are set."""
    given = {name: getattr(arguments, name) for name in LIMITS}
    return {name: value for name, value in given.items() if value is not None}


def kernels(arguments) -> str:
    """What `--no-xnnpack` means for `tflite_tools`."""
    return "builtin" if arguments.no_xnnpack else "default"


def arrays_of(arguments):
    """What `--input` names, and a note that says so."""
    found = arrays.read(arguments.input)
    console.note(f"comparing on {arguments.input}")
    return found


def run(arguments, first: Path, second: Path) -> None:
    """Compares, prints, and raises `ContractBroken` where a limit is not kept."""
    import tflite_tools
    from mobilequant.cli.quiet import quiet

    images = None
    if arguments.data:
        images = _images(arguments, first)
    elif arguments.input:
        images = arrays_of(arguments)
    else:
        console.note("comparing on random images; real ones tell more: --data")
    with quiet():
        found = tflite_tools.compare(
            first, second, images, layers=arguments.layers, kernels=kernels(arguments)
        )
    broken = found.breach(**limits(arguments))
    if arguments.plot:
        found.plot(arguments.plot)
    result = {**found.to_dict(), "limits": limits(arguments), "kept": broken is None}
    console.print_result(result, str(found), arguments.json)
    if broken is not None:
        raise ContractBroken(f"{second} lies too far from {first}: {broken}")


def _images(arguments, path: Path):
    """Batches of a data set, or of a folder of photographs: no label is needed."""
    from mobilequant.cli.quiet import import_tensorflow, quiet

    import_tensorflow()
    from mobilequant.cli import photographs, tasks
    from tflite_tools import inspect

    with quiet():
        found = inspect(path)
    task = tasks.of_file(found.outputs, path, arguments.task)
    shape = datasets.image_shape_of_file(found.inputs, path)
    if photographs.is_flat_folder(arguments.data):
        paths = photographs.collect([arguments.data])[: arguments.limit]
        console.note(f"comparing on {len(paths)} images of {arguments.data}")
        whole = task.NAME != "classification"
        return (
            photographs.as_batch(photographs.open_upright(p), shape, whole=whole) for p in paths
        )
    options = {"limit": arguments.limit, "batch_size": arguments.batch_size or task.BATCH_SIZE}
    data = datasets.load(arguments, task, shape, **options)
    if data.test is None:
        raise UsageError(f"the data set {data.name} has no images for testing")
    console.note(f"comparing on {data.sizes['test']} images of {data.name}")
    return data.test
