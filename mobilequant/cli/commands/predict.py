"""`mobilequant predict`: what a model sees in images, drawn onto them."""

from __future__ import annotations

from pathlib import Path

from mobilequant.cli import arguments as args
from mobilequant.cli import console, files, labels
from mobilequant.cli.errors import UsageError

HELP = "show what a model sees: pictures with boxes or masks, or the likeliest classes"

DESCRIPTION = """\
Runs a Keras model (float or quantized) or a .tflite file on images of any size. A detector's boxes
and a segmentation's mask are drawn onto the images, one picture each, NAME_boxes.png or
NAME_mask.png; of a classifier the five likeliest classes are printed. Images are prepared as in
training: stretched to the model's size (of a classifier: the centre, cut to its shape), values
from -1 to 1."""

EXAMPLES = """\
  mobilequant predict detector.keras cells.jpg --data bccd --output pictures
  mobilequant predict detector.tflite photos/ --keras q.keras --labels names.txt -o pictures
  mobilequant predict pets.tflite a.png b.png --data oxford_iiit_pet -o pictures
  mobilequant predict classifier.tflite cat.jpg --labels imagenet_labels.txt
  mobilequant predict detector.keras photos/ --score 0.3 --json > boxes.json"""


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="a .keras or a .tflite file")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image files, or folders of them"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="folder for the pictures, made if need be; without it only --json tells of boxes "
        "and masks",
    )
    parser.add_argument(
        "--task", choices=args.TASKS, help="what the model is for (default: what its outputs say)"
    )
    parser.add_argument(
        "--score",
        type=args.share,
        default=0.5,
        metavar="S",
        help="show boxes of a score above it (default: 0.5)",
    )
    parser.add_argument(
        "--keras",
        metavar="Q.keras",
        help="the model that a detector's .tflite file was made from: it knows the anchors, which "
        "the file has only if it ends in TFLite_Detection_PostProcess",
    )
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--labels", metavar="FILE", help="names of the classes, one a line")
    names.add_argument("--data", metavar="NAME", help="the data set whose class names are shown")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where TensorFlow data sets are (default: its own folder)"
    )
    args.add_json(parser)


def run(arguments) -> None:
    """Predicts, draws, prints."""
    from mobilequant.cli import photographs

    source = files.check_model(arguments.model)
    like = files.check_input(arguments.keras, ".keras") if arguments.keras else None
    if like and source.suffix == ".keras":
        raise UsageError(f"--keras is for .tflite files; {source} knows its anchors itself")
    if arguments.data_dir and not arguments.data:
        raise UsageError("--data-dir needs --data")
    names = labels.read(arguments.labels) if arguments.labels else None
    paths = photographs.collect(arguments.images)
    folder = files.check_folder(arguments.output) if arguments.output else None

    from mobilequant.cli.quiet import import_tensorflow, quiet

    import_tensorflow()
    from mobilequant.cli.predictor import Predictor

    with quiet():
        predictor = Predictor(source, len(paths), like=like, task=arguments.task)
    if predictor.draws and not folder and not arguments.json:
        raise UsageError(f"{source} is for {predictor.task.NAME}: name a folder with --output")
    if arguments.data:
        names = predictor.names_of(arguments.data, arguments.data_dir)
    predictor.prepare(names, arguments.score)
    results = []
    for path, picture in zip(paths, _pictures(paths, folder, predictor), strict=True):
        with quiet():
            result, text = predictor.predict(path, picture)
        results.append(result)
        if not arguments.json:
            console.print_result({}, text, as_json=False)
    if arguments.json:
        result = {"model": str(source), "task": predictor.task.NAME, "images": results}
        console.print_result(result, "", as_json=True)


def _pictures(paths, folder: Path | None, predictor) -> list[Path | None]:
    """Where each picture goes; images of one name get numbers."""
    if folder is None or not predictor.draws:
        return [None] * len(paths)
    names = []
    for path in paths:
        name, number = path.stem, 2
        while name in names:
            name, number = f"{path.stem}_{number}", number + 1
        names.append(name)
    return [folder / f"{name}_{predictor.task.Reader.picture}.png" for name in names]
