"""Image files as a user names them, and as a model takes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mobilequant.cli.errors import UsageError

#: What is looked for in folders; a test holds it to that of `mobilequant.data`.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def collect(paths: Iterable[str]) -> list[Path]:
    """The image files of files and folders, in the order given, those of a folder sorted.

    Raises:
        UsageError: There is no such file, it is no image, or a folder holds none.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not inside:
                raise UsageError(f"{path} holds no images ({', '.join(SUFFIXES)})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path}: there is no such file")
    for path in found:
        _check(path)
    return found


def is_flat_folder(path: str | Path) -> bool:
    """Whether images lie in a folder itself, and no folders beside them."""
    path = Path(path)
    inside = list(path.iterdir()) if path.is_dir() else []
    is_image = [file.suffix.lower() in SUFFIXES for file in inside if not file.is_dir()]
    return any(is_image) and len(is_image) == len(inside)


def open_upright(path: Path) -> Image.Image:
    """An image as people see it, RGB.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
                image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # Pillow raises many kinds, SyntaxError among them
        raise UsageError(f"{path} is no image that can be read: {error}") from error


def as_batch(image: Image.Image, shape: tuple[int, int, int], *, whole: bool):
    """What a model takes, as evaluation makes it: a float32 batch of one image, in [−1, 1].

    Args:
        image: Any size, RGB.
        shape: (height, width, channels) that the model takes.
        whole: Whether the image is stretched, as for boxes and masks. Else its centre is cut to
            the model's shape; of a photograph 7/8 are kept, as is usual, and all of an image
            that has the model's size.
    """
    import tensorflow as tf

    from mobilequant.data import preprocessing, windows

    pixels, size = tf.constant(np.asarray(image)), shape[:2]
    if whole:
        at = windows.view(pixels, windows.whole(pixels), size)
        seen = preprocessing.with_channels(windows.see_image(pixels, at, size), shape[2])
    else:
        fits = (image.height, image.width) == tuple(size)
        crop = 1.0 if fits else preprocessing.IMAGENET_CROP
        seen = preprocessing.fit_image(pixels, size, shape[2], crop)
    return preprocessing.scale(seen).numpy()[None]


def _check(path: Path) -> None:
    try:
        with Image.open(path):
            pass
    except Exception as error:
        raise UsageError(f"{path} is no image that can be read") from error
