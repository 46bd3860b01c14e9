"""Example predictions for `mobilequant report`: a few test images through each model."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

#: How many predictions of one image are listed.
_TOP = 3
#: Boxes of lower score are not drawn.
_SCORE = 0.3
#: Drawn pictures are enlarged until they have so many pixels along the longer side.
_DRAWN_SIZE = 320
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Seer:
    """Something that sees.

    Attributes:
        model: The Keras model that knows what outputs mean.
        run: What runs it, or its file.
    """

    model: object
    run: Callable


def collect(seers: Mapping[str, Seer], task, data, count: int) -> list:
    """Test images, evenly spread over the data set, and what each model sees in them.

    Args:
        seers: By the name that the page gives them.
        task: A module of `mobilequant.cli.tasks`.
        data: The data set.
        count: How many images.

    Returns:
        A list of `tflite_tools.reporting.Example`.
    """
    from tflite_tools.reporting import Example, View

    size = data.image_shape[:2]
    readers = {
        name: task.Reader(seer.model, seer.run, data.class_names, name, score=_SCORE, size=size)
        for name, seer in seers.items()
    }
    draws = task.Reader.picture is not None
    found = []
    for place, batch, truth in _spread(data, count) if count else ():
        image = _photograph(batch[0], _DRAWN_SIZE if draws else 1)
        views = []
        for name, seer in seers.items():
            prediction = readers[name].read(seer.run(batch), image)
            picture = _encoded(prediction.draw()) if draws else None
            views.append(View(name, _ranked(prediction.result), picture))
        found.append(
            Example(
                title=f"test image {place + 1}",
                views=views,
                truth=_named(truth, data.class_names),
                picture=None if draws else _encoded(image),
            )
        )
    return found


def _spread(data, count: int):
    """Places, batches of one image and the truths of images that lie evenly in the test set."""
    total = data.sizes["test"]
    wanted = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
    place = 0
    for images, truths in data.test.as_numpy_iterator():
        for i in range(len(images)):
            if place in wanted:
                yield place, images[i : i + 1], truths if isinstance(truths, dict) else truths[i]
            place += 1


def _photograph(pixels: np.ndarray, least: int) -> Image.Image:
    """A model's input as people see it, RGB, enlarged by a whole number to `least` pixels."""
    values = np.clip(np.rint((pixels + 1) * 127.5), 0, 255).astype(np.uint8)
    image = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).convert("RGB")
    times = -(-least // max(image.size))
    if times == 1:
        return image
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _encoded(image: Image.Image) -> bytes:
    """The content of a picture file: small ones without loss, photographs as JPEG."""
    buffer = io.BytesIO()
    if max(image.size) <= 64:
        image.save(buffer, format="PNG")
    else:
        image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _ranked(result: dict) -> list[tuple[str, float]]:
    """Names with scores, or with shares of the image, of the first few."""
    items = result.get("classes", result.get("detections", ()))
    return [(item["name"], item.get("score", item.get("share"))) for item in items[:_TOP]]


def _named(truth, names) -> str:
    """The class of an image; of boxes and masks nothing, since they are to be seen."""
    return names[int(truth)] if np.ndim(truth) == 0 and not isinstance(truth, dict) else ""
