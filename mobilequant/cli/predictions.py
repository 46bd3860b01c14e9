"""What `mobilequant predict` says of one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """What a model sees in an image.

    Attributes:
        result: For `--json`.
        text: For people, to follow the name of the image and a colon.
        draw: Makes the picture, a `PIL.Image`; `None` where there is none.
    """

    result: dict
    text: str
    draw: Callable | None = None


def class_name(names: Sequence[str] | None, number: int) -> str:
    """The name of a class, or "class 3" where there is none."""
    return names[number] if names and number < len(names) else f"class {number}"
