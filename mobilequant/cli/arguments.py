"""Arguments that several subcommands take, and the types of their values."""

from __future__ import annotations

import argparse

from mobilequant import targets

# Tables of the library that cannot be read without TensorFlow; a test holds them together.
INTERFACES = ("int8", "uint8")
ESTIMATORS = ("denoise", "ste", "lsq")
TASKS = ("classification", "segmentation", "detection")


def add_data(parser: argparse.ArgumentParser, *, required: bool, use: str) -> None:
    """Adds the arguments that name a data set; `use` says what for."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        required=required,
        metavar="NAME",
        help=f'{use}: "digits" (embedded), the name of a TensorFlow data set such as cifar10, '
        "or a folder: with one folder of images for each class, or for boxes and masks as COCO "
        "or VOC have it",
    )
    group.add_argument(
        "--data-dir", metavar="DIR", help="where TensorFlow data sets are (default: its own folder)"
    )
    group.add_argument(
        "--class-names",
        metavar="FILE",
        help="names of the classes of boxes or masks, one a line, where the data set lacks them",
    )
    group.add_argument(
        "--void-label",
        type=count_or_none,
        metavar="N",
        help="index of pixels without a class in masks (default: what is known of the data set)",
    )
    group.add_argument(
        "--task", choices=TASKS, help="what is in the data set (default: what the model is for)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument(
        "--json", action="store_true", help="print the result as JSON and nothing else on stdout"
    )


def add_recipe(parser) -> None:
    """Adds `--target` and `--estimator`, without defaults."""
    add_target(parser, "device kind (default: phone)")
    parser.add_argument(
        "--estimator",
        choices=ESTIMATORS,
        help="gradient through the rounding (default: the recipe's, denoise)",
    )


def add_target(parser: argparse.ArgumentParser, use: str) -> None:
    """Adds `--target`; `use` says what for."""
    names = ", ".join(targets.TARGETS)
    parser.add_argument(
        "--target",
        type=target,
        choices=_Targets(targets.TARGETS),
        metavar="NAME",
        help=f"{use}: {names}, or phone-2.9 for an older TFLite, by its release",
    )


class _Targets(tuple):
    """What the tab key completes; the numbers of releases are more than one can list."""

    def __contains__(self, name):
        return True  # `target` has refused what is none


def target(text: str) -> str:
    """The name of a target."""
    try:
        return targets.get(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def count_or_none(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, 0)


def positive(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def share(text: str) -> float:
    """A number from 0 up to, but not including, 1."""
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0 and below 1")
    return value


def whole_share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return value


def image_size(text: str) -> tuple[int, int]:
    """ "224", or "HEIGHTxWIDTH"."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text} is no image size; write 224, or 192x256")
    height, width = int(parts[0]), int(parts[-1])
    return height, width


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or value < least:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {least}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None
