"""Which kind of folder a folder is: COCO's or VOC's."""

from collections.abc import Sequence
from pathlib import Path

from mobilequant.data.sources import coco, voc
from mobilequant.data.sources.source import BoxSource, MaskSource

# What a folder may look like, for messages.
LAYOUTS = (
    "as COCO's (annotations/instances_NAME.json with the images in NAME, images/NAME or images) "
    "or VOC's (JPEGImages with Annotations/*.xml or SegmentationClass/*.png)"
)


def read_boxes(root: str | Path, class_names: Sequence[str] | None) -> BoxSource:
    """The boxes of a folder.

    Raises:
        ValueError: it is no folder or none of either kind, or one of its files is wrong.
    """
    root = _checked(root)
    if coco.is_coco(root):
        return coco.boxes(root, class_names)
    return voc.boxes(voc.find_root(root), class_names)


def read_masks(
    root: str | Path, class_names: Sequence[str] | None, void_label: int | None
) -> MaskSource:
    """The masks of a folder.

    Raises:
        ValueError: as `read_boxes`.
        ImportError: masks are drawn from COCO's polygons by pycocotools, which is missing.
    """
    root = _checked(root)
    if coco.is_coco(root):
        return coco.masks(root, class_names, void_label)
    return voc.masks(voc.find_root(root), class_names, void_label)


def _checked(root: str | Path) -> Path:
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; give one {LAYOUTS}")
    if not coco.is_coco(root) and voc.find_root(root) is None:
        raise ValueError(f"{root} holds no annotations that are known; give a folder {LAYOUTS}")
    return root
