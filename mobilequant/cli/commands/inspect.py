"""`mobilequant inspect`: what is in a `.tflite` file."""

from __future__ import annotations

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files

HELP = "show what is in a .tflite file"

DESCRIPTION = """\
Shows inputs, outputs, operators with their versions, weights, multiply-adds, memory for
activations, the oldest runtime, signatures and metadata of any file, whoever wrote it."""

EXAMPLES = """\
  mobilequant inspect model.tflite
  mobilequant inspect model.tflite --operators --tensors | less -S
  mobilequant inspect model.tflite --plot costs.png
  mobilequant inspect model.tflite --json | python -m json.tool"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("file", metavar="M.tflite", help="the file, by whomever it was written")
    parser.add_argument("--operators", action="store_true", help="list every operator as well")
    parser.add_argument(
        "--tensors", action="store_true", help="list every tensor as well, with its quantization"
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="draw where bytes and multiply-adds are: a .png, .pdf or .svg file",
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Inspects."""
    path = files.check_tflite(arguments.file)

    import tflite_tools
    from mobilequant import drawing

    if arguments.plot:
        drawing.check_path(arguments.plot)
    found = tflite_tools.inspect(path)
    texts = [str(found)]
    if arguments.operators:
        texts.append(found.operator_table())
    if arguments.tensors:
        texts.append(found.tensor_table())
    if arguments.plot:
        found.plot(arguments.plot)
    result = {**found.to_dict(), "plot": arguments.plot}
    console.print_result(result, "\n\n".join(texts), arguments.json)
