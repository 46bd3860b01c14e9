"""Folders as Pascal VOC has them (its development kit, sec. 3 and 11).

`JPEGImages/*.jpg`, `Annotations/*.xml` with the boxes, `SegmentationClass/*.png` with the masks,
and `ImageSets/Main/*.txt` or `ImageSets/Segmentation/*.txt` that say which image is for what;
without these lists a fifth of the images is put aside for testing.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilequant.data.sources import annotated
from mobilequant.data.sources.annotated import AnnotatedImage
from mobilequant.data.sources.files import SUFFIXES, decode_mask, decode_stored_image
from mobilequant.data.sources.source import BoxSource, MaskSource, Split

_NAMES = """aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse
motorbike person pottedplant sheep sofa train tvmonitor"""
CLASS_NAMES = tuple(_NAMES.split())

# Of the border around each object.
VOID = 255

# The lists that are read for each part, the first that is there.
_LISTS = {"train": ("train", "trainval"), "validation": ("val",), "test": ("test",)}


def find_root(root: Path) -> Path | None:
    """The folder that holds `JPEGImages`: `root`, or the one such folder of a development kit.

    Raises:
        ValueError: `root` holds several, one for each year.
    """
    candidates = [root, *sorted(root.glob("VOC*")), *sorted(root.glob("VOCdevkit/VOC*"))]
    found = [
        folder
        for folder in candidates
        if (folder / "JPEGImages").is_dir()
        and any((folder / name).is_dir() for name in ("Annotations", "SegmentationClass"))
    ]
    if len(found) > 1:
        raise ValueError(f"{root} holds {', '.join(path.name for path in found)}; give one of them")
    return found[0] if found else None


def boxes(root: Path, class_names: Sequence[str] | None) -> BoxSource:
    """The boxes of all parts that have annotations; difficult objects count as crowds.

    Args:
        root: holds `JPEGImages` and `Annotations`.
        class_names: in the order of the labels; by default VOC's twenty where all names found are
            among them, else all names found, sorted.

    Raises:
        ValueError: a file is wrong; it is named.
    """
    images = _images(root)
    listed = _listed(root, "Annotations", ".xml", "Main")
    annotations = {
        part: [_Annotation.read(path, images) for path in paths] for part, paths in listed.items()
    }
    if class_names is None:
        every = {name for items in annotations.values() for item in items for name in item.names}
        class_names = CLASS_NAMES if every <= set(CLASS_NAMES) else sorted(every)
    labels = {name: label for label, name in enumerate(class_names)}
    parts = {part: [item.image(labels) for item in items] for part, items in annotations.items()}
    return BoxSource(
        name=root.resolve().name,
        class_names=tuple(class_names),
        splits={part: annotated.box_split(items) for part, items in annotated.parts(parts).items()},
        decode=decode_stored_image,
    )


def masks(root: Path, class_names: Sequence[str] | None, void_label: int | None) -> MaskSource:
    """The masks of all parts.

    Args:
        root: holds `JPEGImages` and `SegmentationClass`.
        class_names: in the order of the indices; by default those of the folder's `labelmap.txt`
            (as annotation tools write it), else the background and VOC's twenty.
        void_label: 255 by default.

    Raises:
        ValueError: a file is missing or wrong; it is named.
    """
    images = _images(root)
    listed = _listed(root, "SegmentationClass", ".png", "Segmentation")
    if class_names is None:
        class_names = _label_map(root) or ("background", *CLASS_NAMES)
    return MaskSource(
        name=root.resolve().name,
        class_names=tuple(class_names),
        splits={
            part: _mask_split([str(_image_of(path, images)) for path in paths], paths)
            for part, paths in annotated.parts(listed).items()
        },
        decode=decode_stored_image,
        decode_mask=decode_mask,
        void_label=VOID if void_label is None else void_label,
    )


@dataclass(frozen=True)
class _Annotation:
    """An XML file.

    Attributes:
        path: of the file.
        file: of the image.
        size: (height, width).
        names: of the classes of the objects.
        corners: (xmin, ymin, xmax, ymax) of each object in pixels.
        difficult: of each object.
    """

    path: Path
    file: str
    size: tuple[int, int]
    names: list[str]
    corners: list[list[float]]
    difficult: list[bool]

    @classmethod
    def read(cls, path: Path, images: dict[str, Path]) -> "_Annotation":
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise ValueError(f"{path} is no XML: {error}") from error
        file = _image_of(path, images)
        objects = root.findall("object")
        try:
            size = [int(root.findtext(f"size/{side}", "0")) for side in ("height", "width")]
            corners = [
                [float(o.findtext(f"bndbox/{c}")) for c in ("xmin", "ymin", "xmax", "ymax")]
                for o in objects
            ]
        except (TypeError, ValueError) as error:  # missing, no number
            raise ValueError(
                f"{path}: <size> needs a width and a height, and every <object> a <bndbox> with "
                f"xmin, ymin, xmax and ymax: {error}"
            ) from error
        names = [(o.findtext("name") or "").strip() for o in objects]
        if not all(names):
            raise ValueError(f"{path}: an <object> without a <name>")
        return cls(
            path=path,
            file=str(file),
            # Some tools write a size of 0.
            size=tuple(size) if all(size) else annotated.size_of(file),
            names=names,
            corners=corners,
            difficult=[o.findtext("difficult", "0").strip() == "1" for o in objects],
        )

    def image(self, labels: dict[str, int]) -> AnnotatedImage:
        strangers = sorted(set(self.names) - set(labels))
        if strangers:
            raise ValueError(
                f"{self.path}: class {strangers[0]!r} is not among class_names: {', '.join(labels)}"
            )
        height, width = self.size
        left, top, right, bottom = np.array(self.corners, np.float64).reshape(-1, 4).T
        # The first pixel is number 1, and the last one of an object belongs to it.
        return AnnotatedImage(
            file=self.file,
            size=self.size,
            boxes=np.stack(
                [(top - 1) / height, (left - 1) / width, bottom / height, right / width], axis=1
            ).astype(np.float32),
            labels=np.array([labels[name] for name in self.names], np.int32),
            crowd=np.array(self.difficult, bool),
        )


def _images(root: Path) -> dict[str, Path]:
    """The image files by their names without ending."""
    files = (root / "JPEGImages").iterdir()
    return {path.stem: path for path in files if path.suffix.lower() in SUFFIXES}


def _image_of(path: Path, images: dict[str, Path]) -> Path:
    if path.stem not in images:
        raise ValueError(f"{path} has no image: there is no JPEGImages/{path.stem}.jpg or .png")
    return images[path.stem]


def _listed(root: Path, folder: str, suffix: str, lists: str) -> dict[str, list[Path]]:
    """The annotation files of each part."""
    if not (root / folder).is_dir():
        raise ValueError(f"{root} has no folder {folder}")
    existing = {path.stem: path for path in (root / folder).glob(f"*{suffix}")}
    if not existing:
        raise ValueError(f"{root / folder} holds no *{suffix}")
    result = {}
    for part, names in _LISTS.items():
        files = [root / "ImageSets" / lists / f"{name}.txt" for name in names]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            continue
        stems = [line.split()[0] for line in file.read_text().splitlines() if line.split()]
        known = [existing[stem] for stem in stems if stem in existing]
        if part != "test" and len(known) < len(stems):  # a competition keeps those of its test
            missing = next(stem for stem in stems if stem not in existing)
            raise ValueError(f"{file} lists {missing}, but there is no {folder}/{missing}{suffix}")
        result[part] = known
    return result or {"train": list(existing.values())}


def _label_map(root: Path) -> tuple[str, ...]:
    """The names in `labelmap.txt`, lines of `name:red,green,blue:parts:actions`."""
    file = root / "labelmap.txt"
    if not file.is_file():
        return ()
    lines = (line.strip() for line in file.read_text().splitlines())
    return tuple(line.split(":")[0] for line in lines if line and not line.startswith("#"))


def _mask_split(files: list[str], masks: list[Path]) -> Split:
    paths = [str(mask) for mask in masks]

    def read(start, stop, seed):
        del seed
        own = slice(start, stop)
        targets = {"mask": paths[own], "file": paths[own]}
        return tf.data.Dataset.from_tensor_slices((files[own], targets))

    return Split(len(files), read)
