"""What both tasks share: arguments, interrupted trainings, where figures and pictures go."""

from __future__ import annotations

import argparse
import json
import math
import pathlib

import common
import keras
from PIL import Image

IMAGENET = "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"

#: What a float training depends on.
SETTINGS = ("backbone", "epochs", "image_size", "batch_size", "learning_rate", "seed", "limit")


def read_arguments(
    description: str,
    head: str,
    *,
    epochs: int,
    quantized_epochs: int,
    image_size: tuple[int, int],
    epoch_minutes: float,
) -> argparse.Namespace:
    """Reads the command line of a task, says what will be done, and sets the seed.

    Args:
        description: For `--help`.
        head: Name of what sits on the backbone.
        epochs, quantized_epochs, image_size: The task's defaults.
        epoch_minutes: What an epoch takes at that size, on 2 cores.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--quantized-epochs", type=int, default=quantized_epochs)
    parser.add_argument("--image-size", type=int, nargs=2, default=image_size)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="images of a split, for a quick trial")
    parser.add_argument("--output", type=pathlib.Path, help="instead of the results folder")
    arguments = parser.parse_args()
    share = math.prod(arguments.image_size) / math.prod(image_size)
    minutes = epoch_minutes * share * (arguments.epochs + 2 * arguments.quantized_epochs)
    print(
        f"{head} on {arguments.backbone}: {arguments.epochs} float epochs, "
        f"{arguments.quantized_epochs} quantized ones; about {minutes:.0f} minutes on 2 cores.",
        flush=True,
    )
    keras.utils.set_random_seed(arguments.seed)
    return arguments


def backup(task: str, arguments) -> keras.callbacks.BackupAndRestore:
    """Lets a training go on where it was interrupted, if its settings are the same."""
    key = "-".join(str(getattr(arguments, name)) for name in SETTINGS).replace(" ", "")
    common.WORK.mkdir(parents=True, exist_ok=True)
    folder = common.WORK / f"dense_{task}_{key}"
    return keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)


def path_of(task: str, arguments) -> pathlib.Path:
    """Where figures go."""
    return arguments.output or common.RESULTS / f"dense_{task}.json"


def write(task: str, arguments, figures: dict) -> None:
    """Writes the figures of one backbone, beside those of others."""
    path = path_of(task, arguments)
    former = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    used = {name: getattr(arguments, name) for name in SETTINGS if name != "backbone"}
    used["quantized_epochs"] = arguments.quantized_epochs
    entry = {**figures, "settings": used}
    common.write_document(path, f"dense_{task}", {**former, arguments.backbone: entry}, {})
    print(f"wrote {path}")


def save_grid(path: pathlib.Path, titles, rows) -> None:
    """Pictures side by side, a line an image.

    Args:
        path: The PNG file.
        titles: One a column.
        rows: Of each line its images, RGB.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(rows), len(titles), figsize=(4 * len(titles), 3 * len(rows)), squeeze=False
    )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for line, images in zip(axes, rows, strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image)
            axis.set_axis_off()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    # Of a palette: a third of the bytes, and no difference to the eye.
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    print(f"wrote {path}")
