"""Anchors ("default boxes") by the rule of SSD.

Source: Liu et al. 2016, "SSD: Single Shot MultiBox Detector", arXiv:1512.02325, section 2.2. On
level k of m a box of scale s and aspect ratio a (width to height) is s·√a wide and s/√a high,
with scales that grow evenly from level to level (equation 4), and one more square box of scale
√(s_k·s_{k+1}). Each is centred on each cell of the level's feature map.

The order is that in which predictors give their numbers: level by level, row by row, column by
column, then the boxes of one cell.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from collections.abc import Sequence

import keras
import numpy as np

_EXTRA_BOX = ("second", "last", None)
_REFERENCES = ("sides", "shorter")


@keras.saving.register_keras_serializable(package="mobilequant")
@dataclasses.dataclass(frozen=True)
class AnchorSettings:
    """How the anchors of all levels are made.

    The defaults are those of torchvision's SSDLite320 (`DefaultBoxGenerator`); see also
    `detection_api` and `multiscale`.

    Args:
        min_scale: s_1, side of the lowest level's square box in shares of the image.
        max_scale: s_m, the same for the highest level.
        scales: one for each level, instead of the even ones.
        last_scale: s_{m+1}, with which the highest level's extra box is made.
        aspect_ratios: width to height, of all levels; or one such sequence for each level.
        extra_box: place among the boxes of a cell of the extra one, of scale √(s_k·s_{k+1}):
            "second" (torchvision), "last" (TensorFlow's detection API), or `None` for none.
        extra_ratio: aspect ratio of the extra box.
        reduced_lowest: whether the lowest level has three boxes only: a square of scale
            `reduced_scale`, and the ratios 2 and 1/2 of its own scale.
        reduced_scale: see there.
        shapes: for each level a sequence of (scale, aspect ratio), instead of all of the above.
        strides: distance between centres in pixels, for each level; `None` spreads the cells
            evenly over the image.
        offsets: of the first centre, in strides; a number, or (y, x) for each level.
        reference: what a scale is a share of: "sides", each side of the image its own
            (torchvision), or "shorter", the shorter side, so that aspect ratios hold in pixels
            (TensorFlow's detection API).
        clip_sizes: whether no box is larger than the image (torchvision).
        clip: whether boxes are cut off at the edge of the image.

    Raises:
        ValueError: a setting is out of range.
    """

    min_scale: float = 0.2
    max_scale: float = 0.95
    scales: tuple[float, ...] | None = None
    last_scale: float = 1.0
    aspect_ratios: tuple = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)
    extra_box: str | None = "second"
    extra_ratio: float = 1.0
    reduced_lowest: bool = False
    reduced_scale: float = 0.1
    shapes: tuple[tuple[tuple[float, float], ...], ...] | None = None
    strides: tuple[float, ...] | None = None
    offsets: float | tuple[tuple[float, float], ...] = 0.5
    reference: str = "sides"
    clip_sizes: bool = True
    clip: bool = False

    def __post_init__(self):
        for name in ("scales", "aspect_ratios", "shapes", "strides", "offsets"):
            # Configurations come back from JSON with lists; tuples make equality and hashing work.
            object.__setattr__(self, name, _as_tuples(getattr(self, name)))
        for name in ("min_scale", "max_scale", "last_scale", "extra_ratio", "reduced_scale"):
            _check_positive(name, [getattr(self, name)])
        for name in ("scales", "aspect_ratios", "shapes", "strides"):
            _check_positive(name, keras.tree.flatten(getattr(self, name) or ()))
        if not self.aspect_ratios and self.extra_box is None:
            raise ValueError("anchors: aspect_ratios is empty and there is no extra_box")
        if self.extra_box not in _EXTRA_BOX:
            raise ValueError(f"anchors: extra_box={self.extra_box!r} must be one of {_EXTRA_BOX}")
        if self.reference not in _REFERENCES:
            raise ValueError(f"anchors: reference={self.reference!r} must be one of {_REFERENCES}")

    @classmethod
    def detection_api(cls, **changes) -> AnchorSettings:
        """Those of `ssd_anchor_generator` in TensorFlow's detection API, by its defaults.

        Args:
            changes: settings that differ, such as `reduced_lowest=False`.
        """
        settings = {
            "aspect_ratios": (1.0, 2.0, 1 / 2, 3.0, 1 / 3),
            "extra_box": "last",
            "reduced_lowest": True,
            "reference": "shorter",
            "clip_sizes": False,
        }
        return cls(**{**settings, **changes})

    @classmethod
    def multiscale(
        cls,
        image_size: tuple[int, int],
        levels: tuple[int, int] = (3, 7),
        *,
        anchor_scale: float = 4.0,
        scales_per_octave: int = 2,
        aspect_ratios: Sequence[float] = (1.0, 2.0, 1 / 2),
    ) -> AnchorSettings:
        """Those of RetinaNet (arXiv:1708.02002), as feature pyramids usually have them.

        As `multiscale_anchor_generator` in TensorFlow's detection API has it: level l has strides
        of 2^l pixels, and boxes whose area is that of a square with sides of
        `anchor_scale`·2^l pixels and its steps up to the next octave.

        Args:
            image_size: (height, width) in pixels.
            levels: the lowest and the highest.
            anchor_scale: side of the smallest box in strides.
            scales_per_octave: sizes a level.
            aspect_ratios: width to height.
        """
        shorter, octaves = min(image_size), range(levels[0], levels[1] + 1)
        steps = [2 ** (i / scales_per_octave) for i in range(scales_per_octave)]
        return cls(
            shapes=tuple(
                tuple(
                    (anchor_scale * 2**n * step / shorter, a)
                    for a in aspect_ratios
                    for step in steps
                )
                for n in octaves
            ),
            strides=tuple(2.0**n for n in octaves),
            # Where the strides do not divide the image, its anchors begin at the very edge.
            offsets=tuple(
                tuple(0.5 if size % 2**n == 0 else 0.0 for size in image_size) for n in octaves
            ),
            reference="shorter",
            clip_sizes=False,
        )

    def get_config(self) -> dict:
        """The arguments, as JSON can hold them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_config(cls, config: dict) -> AnchorSettings:
        """The settings with these arguments."""
        return cls(**config)


def anchors_per_cell(settings: AnchorSettings, levels: int) -> list[int]:
    """How many anchors each cell has, level by level.

    Args:
        settings: see there.
        levels: number of feature maps.

    Raises:
        ValueError: the settings are for another number of levels.
    """
    return [len(shapes) for shapes in _shapes(settings, levels)]


def make_anchors(
    settings: AnchorSettings,
    feature_sizes: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
) -> np.ndarray:
    """All anchors of a detector.

    Args:
        settings: see there.
        feature_sizes: (rows, columns) of each level's feature map, the finest first.
        image_size: (height, width) in pixels.

    Returns:
        float32 of shape (anchors, 4), (ymin, xmin, ymax, xmax) in shares of the image.

    Raises:
        ValueError: the settings are for another number of levels.
    """
    levels = len(feature_sizes)
    shapes, steps = _shapes(settings, levels), _steps(settings, feature_sizes, image_size)
    offsets = _offsets(settings, levels)
    boxes = [
        _boxes(_centres(*grid), _sizes(settings, level_shapes, image_size))
        for *grid, level_shapes in zip(feature_sizes, steps, offsets, shapes, strict=True)
    ]
    anchors = np.concatenate(boxes)
    if settings.clip:
        anchors = np.clip(anchors, 0.0, 1.0)
    return anchors.astype("float32")


def _shapes(settings: AnchorSettings, levels: int) -> list[list[tuple[float, float]]]:
    """(scale, aspect ratio) of each box of a cell, level by level."""
    if settings.shapes is not None:
        return [list(level) for level in _for_levels("shapes", settings.shapes, levels)]
    scales = [*_scales(settings, levels), settings.last_scale]
    ratios = settings.aspect_ratios
    if not ratios or isinstance(ratios[0], numbers.Real):
        ratios = (ratios,) * levels
    shapes = []
    for level, level_ratios in enumerate(_for_levels("aspect_ratios", ratios, levels)):
        scale = scales[level]
        if level == 0 and settings.reduced_lowest:
            shapes.append([(settings.reduced_scale, 1.0), (scale, 2.0), (scale, 0.5)])
            continue
        boxes = [(scale, ratio) for ratio in level_ratios]
        extra = (math.sqrt(scale * scales[level + 1]), settings.extra_ratio)
        if settings.extra_box is not None:
            boxes.insert(1 if settings.extra_box == "second" else len(boxes), extra)
        shapes.append(boxes)
    return shapes


def _scales(settings: AnchorSettings, levels: int) -> Sequence[float]:
    """Equation 4 of arXiv:1512.02325."""
    if settings.scales is not None:
        return _for_levels("scales", settings.scales, levels)
    return np.linspace(settings.min_scale, settings.max_scale, levels).tolist()


def _offsets(settings: AnchorSettings, levels: int) -> Sequence[tuple[float, float]]:
    if isinstance(settings.offsets, numbers.Real):
        return [(settings.offsets, settings.offsets)] * levels
    return _for_levels("offsets", settings.offsets, levels)


def _sizes(settings, shapes, image_size) -> np.ndarray:
    """(height, width) of the boxes of a cell, in shares of the image: (boxes, 2)."""
    scale, ratio = np.array(shapes, "float64").T
    sizes = np.stack([scale / np.sqrt(ratio), scale * np.sqrt(ratio)], axis=-1)
    if settings.reference == "shorter":
        sizes *= min(image_size) / np.array(image_size)
    return np.clip(sizes, 0.0, 1.0) if settings.clip_sizes else sizes


def _steps(settings, feature_sizes, image_size) -> np.ndarray:
    """(y, x) from one centre to the next, in shares of the image: (levels, 2)."""
    if settings.strides is None:
        return 1.0 / np.array(feature_sizes, "float64")
    strides = np.array(_for_levels("strides", settings.strides, len(feature_sizes)))
    return strides[:, None] / np.array(image_size, "float64")


def _centres(size, step, offset) -> np.ndarray:
    """(y, x) of the cells of a level, in shares of the image: (rows · columns, 2)."""
    rows, columns = ((np.arange(n) + o) * s for n, s, o in zip(size, step, offset, strict=True))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _boxes(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Corners of each size at each centre: (centres · sizes, 4)."""
    low = centres[:, None] - sizes[None] / 2
    high = centres[:, None] + sizes[None] / 2
    return np.concatenate([low, high], axis=-1).reshape(-1, 4)


def _for_levels(name: str, values: tuple, levels: int) -> tuple:
    if len(values) != levels:
        raise ValueError(
            f"anchors: {name} is given for {len(values)} levels, and there are {levels}"
        )
    return values


def _as_tuples(value):
    return tuple(map(_as_tuples, value)) if isinstance(value, Sequence | np.ndarray) else value


def _check_positive(name: str, values: Sequence[float]) -> None:
    for value in values:
        if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
            raise ValueError(f"anchors: {name} must be above 0, got {value!r}")
