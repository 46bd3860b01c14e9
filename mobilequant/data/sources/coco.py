"""Folders with annotations as COCO has them (cocodataset.org, "data format", instances).

`root/annotations/instances_NAME.json`, with the images in `root/NAME`, `root/images/NAME`,
`root/images` or `root`. NAME says the part: train…, val… or test….
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilequant.data.sources import annotated
from mobilequant.data.sources.annotated import AnnotatedImage
from mobilequant.data.sources.files import decode_stored_image
from mobilequant.data.sources.source import BoxSource, MaskSource, Split
from mobilequant.extras import require_pycocotools

_PREFIX = "instances_"

# Of the pixels that crowds or several objects claim.
VOID = 255


def is_coco(root: Path) -> bool:
    """Whether a folder has annotations of this kind."""
    return bool(_files(root))


def boxes(root: Path, class_names: Sequence[str] | None) -> BoxSource:
    """The boxes of all parts; labels in the order of the category ids.

    Raises:
        ValueError: a file is wrong; it is named.
    """
    files, names = _read(root, class_names)
    return BoxSource(
        name=root.resolve().name,
        class_names=names,
        splits={
            part: annotated.box_split([image.with_boxes() for image in images])
            for part, images in annotated.parts(files).items()
        },
        decode=decode_stored_image,
    )


def masks(root: Path, class_names: Sequence[str] | None, void_label: int | None) -> MaskSource:
    """Masks drawn from the polygons and run lengths of the objects.

    Class 0 is the background, the categories follow. Pixels of crowds and of more than one class
    are void.

    Raises:
        ValueError: a file is wrong; it is named.
        ImportError: pycocotools is missing.
    """
    require_pycocotools("Masks from COCO's polygons")
    files, names = _read(root, class_names)
    void = VOID if void_label is None else void_label
    parts = annotated.parts(files)
    images = [image for part in parts.values() for image in part]

    def draw(number):
        return images[number].draw(void)

    def decode_mask(number):
        mask = tf.numpy_function(draw, [number], tf.int32, stateful=False)
        mask.set_shape((None, None))
        return mask

    splits, start = {}, 0
    for part, items in parts.items():
        splits[part] = _mask_split([image.file for image in items], start)
        start += len(items)
    return MaskSource(
        name=root.resolve().name,
        class_names=("background", *names),
        splits=splits,
        decode=decode_stored_image,
        decode_mask=decode_mask,
        void_label=void,
    )


@dataclass(frozen=True)
class _CocoImage:
    """An image with its annotations as they are in the file.

    Attributes:
        file: path of the image.
        size: (height, width).
        annotations: those of the image.
        labels: from category id to label.
        source: the JSON file, for messages.
    """

    file: str
    size: tuple[int, int]
    annotations: list[dict]
    labels: dict[int, int]
    source: Path

    def with_boxes(self) -> AnnotatedImage:
        height, width = self.size
        corners = np.array(
            [_entry(a, "bbox", "annotation", self.source) for a in self.annotations], np.float32
        ).reshape(-1, 4)
        left, top, wide, high = corners.T
        return AnnotatedImage(
            file=self.file,
            size=self.size,
            boxes=np.stack(
                [top / height, left / width, (top + high) / height, (left + wide) / width], axis=1
            ),
            labels=np.array([self.label(a) for a in self.annotations], np.int32),
            crowd=np.array([bool(a.get("iscrowd", 0)) for a in self.annotations], bool),
        )

    def label(self, annotation: dict) -> int:
        category = _entry(annotation, "category_id", "annotation", self.source)
        if category not in self.labels:
            raise ValueError(f"{self.source}: category_id {category} is not among the categories")
        return self.labels[category]

    def draw(self, void: int) -> np.ndarray:
        """An int32 mask (height, width)."""
        mask = np.zeros(self.size, np.int32)
        claimed = np.zeros(self.size, bool)
        for annotation in self.annotations:
            index = self.label(annotation) + 1
            own = self._pixels(annotation)
            disputed = own & claimed & (mask != index)
            mask[own] = void if annotation.get("iscrowd", 0) else index
            mask[disputed] = void
            claimed |= own
        return mask

    def _pixels(self, annotation: dict) -> np.ndarray:
        """Where an object is: polygons, run lengths, or compressed run lengths."""
        from pycocotools import mask as run_lengths

        shape = _entry(annotation, "segmentation", "annotation", self.source)
        try:
            if isinstance(shape, list):
                shape = run_lengths.merge(run_lengths.frPyObjects(shape, *self.size))
            elif isinstance(shape["counts"], list):
                shape = run_lengths.frPyObjects(shape, *self.size)
            pixels = run_lengths.decode(shape).astype(bool)
        except Exception as error:  # pycocotools raises plain Exceptions
            raise ValueError(
                f"{self.source}: the segmentation of annotation {annotation.get('id')} is neither "
                f"polygons nor run lengths: {error}"
            ) from error
        if pixels.shape != self.size:
            raise ValueError(
                f"{self.source}: the segmentation of annotation {annotation.get('id')} is for an "
                f"image of {pixels.shape}, {self.file} is one of {self.size}"
            )
        return pixels


def _mask_split(files: list[str], offset: int) -> Split:
    def read(start, stop, seed):
        del seed

        def example(number):
            file = tf.gather(files, number)
            return file, {"mask": number + offset, "file": file}

        return tf.data.Dataset.range(start, stop).map(example)

    return Split(len(files), read)


def _files(root: Path) -> list[Path]:
    return sorted((root / "annotations").glob(f"{_PREFIX}*.json"))


def _read(
    root: Path, class_names: Sequence[str] | None
) -> tuple[dict[str, list[_CocoImage]], tuple[str, ...]]:
    """The images of each part, and the names of the categories."""
    files = _files(root)
    parts = {path: annotated.part_of(path.stem.removeprefix(_PREFIX)) for path in files}
    if len(files) == 1:  # exported by a tool, which calls it "default"
        parts = {path: part or "train" for path, part in parts.items()}
    found, categories = {}, None
    for path, part in parts.items():
        if part is None:
            raise ValueError(
                f"{path} says no part; call it {_PREFIX}train.json, {_PREFIX}val.json or "
                f"{_PREFIX}test.json"
            )
        if part in found:
            raise ValueError(f"{path} is the second one for {part}; keep one of them in the folder")
        found[part], own = _read_file(root, path)
        if categories not in (None, own):
            raise ValueError(f"{path} has other categories than {files[0]}")
        categories = own
    names = tuple(categories.values())
    if class_names is not None and tuple(class_names) != names:
        raise ValueError(f"{files[0]} names its classes itself: {names}; leave class_names out")
    return found, names


def _read_file(root: Path, path: Path) -> tuple[list[_CocoImage], dict[int, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no COCO annotation: it holds no images and annotations")
    images, annotations, categories = (
        _entry(content, key, "file", path) for key in ("images", "annotations", "categories")
    )
    if not images:
        raise ValueError(f"{path} lists no images")
    names = {
        _entry(category, "id", "category", path): str(_entry(category, "name", "category", path))
        for category in categories
    }
    names = dict(sorted(names.items()))
    labels = {category: label for label, category in enumerate(names)}
    of_image = defaultdict(list)
    for annotation in annotations:
        of_image[_entry(annotation, "image_id", "annotation", path)].append(annotation)
    folder = _image_folder(root, path, _entry(images[0], "file_name", "image", path))
    result = []
    for image in images:
        file = folder / _entry(image, "file_name", "image", path)
        size = (image.get("height"), image.get("width"))
        result.append(
            _CocoImage(
                file=str(file),
                size=size if all(size) else annotated.size_of(file),
                annotations=of_image[_entry(image, "id", "image", path)],
                labels=labels,
                source=path,
            )
        )
    return result, names


def _image_folder(root: Path, path: Path, first: str) -> Path:
    name = path.stem.removeprefix(_PREFIX)
    candidates = [root / name, root / "images" / name, root / "images", root]
    for folder in candidates:
        if (folder / first).is_file():
            return folder
    raise ValueError(
        f"{path} lists {first}, which is in none of {', '.join(map(str, candidates))}; put the "
        "images into one of these folders"
    )


def _entry(item: dict, key: str, what: str, path: Path):
    if not isinstance(item, dict) or key not in item:
        raise ValueError(f"{path}: {what} without {key!r}: {str(item)[:100]}")
    return item[key]
