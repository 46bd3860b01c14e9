"""A folder of class folders.

Either `root/train/CLASS/*.jpg` with `root/test`, `root/val` or `root/validation` beside `train`,
or `root/CLASS/*.jpg`, of which a fifth of each class is put aside for testing.
"""

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilequant.data.sources.files import SUFFIXES, decode_image
from mobilequant.data.sources.source import TEST_SHARE, Source, Split

_SPLIT_FOLDERS = {
    "train": ("train",),
    "test": ("test", "val", "validation"),
}


def folder(root: str | Path) -> Source:
    """Reads the names of all images below `root`; the images themselves are read when needed.

    Which images are for testing, and the order of all, depend on their names alone: the same
    folder is split the same way everywhere, and a new image moves few of the others.

    Raises:
        ValueError: `root` is no folder, holds no class folders, only one, or one without images,
            or has a class for testing that is not trained.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; give a folder that holds one folder for each class")
    parts = {
        split: next((root / name for name in names if (root / name).is_dir()), None)
        for split, names in _SPLIT_FOLDERS.items()
    }
    if parts["train"] and parts["test"]:
        classes = _class_names(parts["train"])
        strangers = sorted(set(_class_names(parts["test"])) - set(classes))
        if strangers:
            raise ValueError(f"{parts['test'] / strangers[0]}: no such class in {parts['train']}")
        splits = {
            split: [item for items in _list(part, classes).values() for item in items]
            for split, part in parts.items()
        }
    elif parts["test"]:
        classes = _class_names(parts["test"])
        splits = {"test": sum(_list(parts["test"], classes).values(), [])}
    else:
        only = parts["train"] or root
        classes = _class_names(only)
        splits = _put_aside(_list(only, classes))
    return Source(
        name=root.resolve().name,
        class_names=classes,
        splits={split: _split(items) for split, items in splits.items()},
        decode=decode_image,
    )


def _class_names(part: Path) -> tuple[str, ...]:
    names = sorted(
        path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise ValueError(
            f"{part} holds no class folders; sort the images into one folder for each class"
        )
    if len(names) == 1:
        raise ValueError(f"{part} holds only one class, {names[0]!r}; a classifier needs two")
    return tuple(names)


def _list(part: Path, classes: tuple[str, ...]) -> dict[str, list[tuple[str, str, int]]]:
    """Per class (hash of the name below `part`, path, label), in the order of the hashes."""
    found = {}
    for label, name in enumerate(classes):
        if not (part / name).is_dir():  # a class without test images
            continue
        paths = [p for p in (part / name).rglob("*") if p.suffix.lower() in SUFFIXES]
        paths = [p for p in paths if p.is_file() and not p.name.startswith(".")]
        if not paths:
            raise ValueError(f"{part / name} holds no images ({', '.join(SUFFIXES)})")
        found[name] = sorted((_hash(path.relative_to(part)), str(path), label) for path in paths)
    return found


def _hash(path: Path) -> str:
    return hashlib.sha256(path.as_posix().encode()).hexdigest()


def _put_aside(found: dict[str, list]) -> dict[str, list]:
    """Splits each class; one of a single image goes to training whole."""
    train, test = [], []
    for items in found.values():
        count = min(max(1, round(len(items) * TEST_SHARE)), len(items) - 1)
        test += items[:count]
        train += items[count:]
    if not test:
        raise ValueError("no class holds more than one image, so none can be put aside for testing")
    return {"train": train, "test": test}


def _split(items: list[tuple[str, str, int]]) -> Split:
    ordered = sorted(items)  # by hash, which mixes the classes
    paths = [path for _, path, _ in ordered]
    labels = np.array([label for _, _, label in ordered], np.int64)

    def read(start, stop, seed):
        del seed  # one file an image: the pipeline's own shuffling does it
        return tf.data.Dataset.from_tensor_slices((paths[start:stop], labels[start:stop]))

    return Split(len(paths), read)
