"""`mobilequant metadata`: what a `.tflite` file tells the apps that open it."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files, labels
from mobilequant.cli.errors import UsageError

HELP = "show or write the TFLite metadata of a .tflite file"

DESCRIPTION = """\
Shows what a file says of itself to MediaPipe and other apps: how pixels become its values, names
of the classes, what its outputs mean. With --task and --labels it writes that, into the file or a
copy; operators and weights stay as they are. The file must take uint8 or float32 images, and a
detector's must end in TFLite_Detection_PostProcess (mobilequant convert --postprocess)."""

EXAMPLES = """\
  mobilequant metadata model.tflite
  mobilequant convert q.keras --interface uint8 -o model.tflite
  mobilequant metadata model.tflite --task classification --labels labels.txt -o labelled.tflite
  mobilequant metadata model.tflite --task segmentation --labels labels.txt --mean 0 --std 255"""

#: Options of the task's class, by the names of the arguments.
_OPTIONS = ("mean", "std", "score_threshold", "activation", "description", "author", "license")

#: The tasks that know them, where not all do.
_ONLY = {"score_threshold": ("classification", "detection"), "activation": ("segmentation",)}


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("file", metavar="M.tflite", help="the file, by whomever it was written")
    parser.add_argument("--task", choices=args.TASKS, help="what the file does")
    parser.add_argument("--labels", metavar="TXT", help="names of the classes, one a line")
    parser.add_argument(
        "--mean",
        type=float,
        nargs="+",
        metavar="X",
        help="what is taken from each pixel, 0 to 255, one number or one a channel "
        "(default: 127.5, as this tool's data have it)",
    )
    parser.add_argument(
        "--std", type=float, nargs="+", metavar="X", help="what divides it then (default: 127.5)"
    )
    parser.add_argument(
        "--score-threshold", type=float, metavar="X", help="least score that apps show"
    )
    parser.add_argument(
        "--activation",
        choices=("none", "sigmoid", "softmax"),
        help="from a segmenter's numbers to confidences (default: what its last operator tells)",
    )
    parser.add_argument("--description", metavar="TEXT", help="what the model is for")
    parser.add_argument("--author", metavar="TEXT", help="who made it")
    parser.add_argument("--license", metavar="TEXT", help="what others may do with it")
    parser.add_argument(
        "-o", "--output", metavar="OUT.tflite", help="write a copy (default: into the file)"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Shows or writes."""
    path = files.check_tflite(arguments.file)
    options = _options(arguments)
    if arguments.task is not None:
        names = labels.read(arguments.labels)
        output = files.check_output(arguments.output or path, ".tflite")

    from tflite_tools import metadata

    if arguments.task is None:
        found = metadata.read(path)
    else:
        task = metadata.TASKS[arguments.task](labels=names, **options)
        path, found = output, metadata.write(path, task, output)
    result = {"path": str(path), "metadata": found and found.to_dict()}
    console.print_result(result, str(found or f"{path} has no metadata"), arguments.json)


def _options(arguments) -> dict:
    """Arguments of the task's class, of those that were given.

    Raises:
        UsageError: They do not go together.
    """
    options = {name: getattr(arguments, name) for name in _OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    if (arguments.task is None) != (arguments.labels is None):
        raise UsageError("--task and --labels go together: both write metadata, neither shows them")
    if arguments.task is None:
        if options or arguments.output:
            raise UsageError("nothing to write: name the file's --task and --labels as well")
        return {}
    for name in options.keys() & _ONLY.keys():
        if arguments.task not in _ONLY[name]:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} has no meaning for {arguments.task}")
    return options
