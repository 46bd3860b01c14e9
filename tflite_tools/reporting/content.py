"""What callers hand to `tflite_tools.report`: accuracy and example predictions, as plain data.

`tflite_tools` knows no tasks: whoever can measure an accuracy or draw a box says what came out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

#: How pictures begin, by their type.
_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


@dataclasses.dataclass(frozen=True)
class Measure:
    """A figure of several models on the same images.

    Attributes:
        name: For people: "accuracy", "mean IoU", ….
        values: A share in [0, 1] by the name of the model, in the order of the columns: the model
            to compare with first, the file last; None where there was nothing to measure.
    """

    name: str
    values: Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class View:
    """What one model sees in an image.

    Attributes:
        model: Name of the model, as in `Measure.values`.
        predictions: Names of classes with scores or shares in [0, 1], the most important first.
        picture: The content of a PNG or JPEG file with boxes or a mask; None where none is drawn.
    """

    model: str
    predictions: Sequence[tuple[str, float]]
    picture: bytes | None = None

    def __post_init__(self):
        if self.picture is not None:
            media_type(self.picture)


@dataclasses.dataclass(frozen=True)
class Example:
    """An image and what models see in it.

    Attributes:
        title: Which image it is.
        views: One for each model, in the order of `Measure.values`.
        truth: What is in it, if known: the name of its class.
        picture: The content of a PNG or JPEG file; None where the views have pictures.
    """

    title: str
    views: Sequence[View]
    truth: str = ""
    picture: bytes | None = None

    def __post_init__(self):
        if self.picture is not None:
            media_type(self.picture)

    @property
    def differs(self) -> bool:
        """Whether the models do not put the same class first."""
        firsts = {view.predictions[0][0] if view.predictions else None for view in self.views}
        return len(firsts) > 1

    def to_dict(self) -> dict:
        """The same, ready for JSON, without pictures."""
        return {
            "title": self.title,
            "truth": self.truth,
            "views": [
                {
                    "model": view.model,
                    "predictions": [
                        {"name": name, "score": float(score)} for name, score in view.predictions
                    ],
                }
                for view in self.views
            ],
        }


def media_type(picture: bytes) -> str:
    """The type of a picture by its content.

    Raises:
        ValueError: It is neither PNG nor JPEG.
    """
    for name, magic in _MAGIC.items():
        if picture.startswith(magic):
            return name
    raise ValueError("A picture of a report must be the content of a PNG or JPEG file.")
