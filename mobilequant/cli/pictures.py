"""Predictions drawn onto images: boxes with names and scores, masks with a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

#: How much of a mask's colour there is in the picture.
_OPACITY = 0.55

#: Hues that follow one another by the golden ratio lie far apart, however many there are.
_HUE_STEP = 0.618034
_FIRST_HUE = 0.0
#: Saturation and value, in turn: neighbours in hue differ in one of them.
_SHADES = ((0.85, 0.95), (0.6, 0.75), (0.45, 1.0))


def colour(number: int) -> tuple[int, int, int]:
    """The colour of a class, red, green and blue, 0 to 255."""
    hue = (_FIRST_HUE + number * _HUE_STEP) % 1.0
    rgb = colorsys.hsv_to_rgb(hue, *_SHADES[number % len(_SHADES)])
    return tuple(round(255 * x) for x in rgb)


def with_boxes(image: Image.Image, detections: Sequence[dict]) -> Image.Image:
    """A copy of an image with boxes, names and scores.

    Args:
        image: Any size, RGB.
        detections: Each with "class", "name", "score" and "box", (ymin, xmin, ymax, xmax) in
            pixels. The first are drawn last, over the others.
    """
    picture = image.copy()
    draw, font = ImageDraw.Draw(picture), _font(image)
    width = max(2, round(min(image.size) / 200))
    for item in reversed(detections):
        top, left, bottom, right = item["box"]
        frame = (left, top, max(right, left), max(bottom, top))
        draw.rectangle(frame, outline=colour(item["class"]), width=width)
    for item in reversed(detections):
        _tag(draw, f"{item['name']} {item['score']:.2f}", item, font, picture.size)
    return picture


def with_mask(image: Image.Image, mask: np.ndarray, classes: Sequence[dict]) -> Image.Image:
    """A copy of an image with a mask over it and a legend below.

    Args:
        image: Any size, RGB.
        mask: Class indices (rows, columns), of any size; stretched over the image.
        classes: Each with "class", "name" and "share", in the order of the legend.
    """
    colours = np.zeros((int(mask.max()) + 1, 3), np.uint8)
    for number in np.unique(mask):
        colours[number] = colour(int(number))
    cover = Image.fromarray(colours[mask]).resize(image.size, Image.Resampling.NEAREST)
    picture = Image.blend(image, cover, _OPACITY)
    return _above(picture, _legend(classes, picture.width, _font(image)))


def _tag(draw, text, item, font, size) -> None:
    """The name of a box, above its upper left corner if there is room, and inside the image."""
    top, left = item["box"][:2]
    _, _, width, height = _extent(text, font)
    x = max(0, min(left, size[0] - width))
    y = top - height if top >= height else top
    background = colour(item["class"])
    draw.rectangle((x, y, x + width, y + height), fill=background)
    draw.text((x + _margin(font), y + _margin(font)), text, fill=_ink(background), font=font)


def _legend(classes, width: int, font) -> Image.Image:
    """Patches of colour with names and shares, in as many lines as they need."""
    entries = [
        (f"{item['name']} {100 * item['share']:.1f} %", colour(item["class"])) for item in classes
    ]
    line = max(_extent(text, font)[3] for text, _ in entries)
    widths = [line + _extent(text, font)[2] for text, _ in entries]
    width = max(width, *widths)
    places, x, y = [], 0, 0
    for wide in widths:
        if x and x + wide > width:
            x, y = 0, y + line
        places.append((x, y))
        x += wide
    legend = Image.new("RGB", (width, y + line), "white")
    draw, margin = ImageDraw.Draw(legend), _margin(font)
    for (text, fill), (x, y) in zip(entries, places, strict=True):
        patch = (x + margin, y + margin, x + line - margin, y + line - margin)
        draw.rectangle(patch, fill=fill, outline="black")
        draw.text((x + line, y + margin), text, fill="black", font=font)
    return legend


def _above(upper: Image.Image, lower: Image.Image) -> Image.Image:
    size = (max(upper.width, lower.width), upper.height + lower.height)
    both = Image.new("RGB", size, "white")
    both.paste(upper, (0, 0))
    both.paste(lower, (0, upper.height))
    return both


def _font(image: Image.Image):
    return ImageFont.load_default(max(11, round(min(image.size) / 26)))


def _margin(font) -> int:
    return max(2, round(font.size / 5))


def _extent(text: str, font) -> tuple[int, int, int, int]:
    """Where a text lies with a margin around it; the height is that of a line."""
    margin = _margin(font)
    ascent, descent = font.getmetrics()
    return 0, 0, round(font.getlength(text)) + 2 * margin, ascent + descent + 2 * margin


def _ink(background) -> str:
    """Black or white, whichever is read more easily."""
    red, green, blue = background
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
