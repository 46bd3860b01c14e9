"""A page with everything on it, made without training anything; names try to be HTML."""

import dataclasses
import io

import numpy as np
from frozen_graphs import Builder
from PIL import Image

import tflite_tools
from mobilequant.quantize.sensitivity_report import LayerCost, Sensitivity
from tflite_tools.agreement import Agreement
from tflite_tools.emission import emit
from tflite_tools.reporting import Example, Measure, View
from tflite_tools.verification_report import Verification

#: Leaves text, an attribute and the script, each in its own way.
HOSTILE = "</script><script>hacked=1</script>\"'><img src=x onerror=hacked=1>{{ 1 }}"

LAYERS = ("stem", HOSTILE, "project")


def write_file(path):
    """Writes a file of three convolutions and a dense layer."""
    b = Builder(name=HOSTILE)
    x = b.input((16, 16, 3))
    for place, name in enumerate(LAYERS):
        x = b.conv(x, 4 * (place + 1), kernel=2 * place + 1, name=name)
    x = b.dense(b.mean(x, name="pool"), 10, name="logits")
    path.write_bytes(emit(b.finish(x)))
    return path


def page_of(path, **changes):
    """What `report` gives of that file, with everything that a caller can add."""
    page = tflite_tools.report(
        path,
        runs=2,
        measures=[
            Measure("accuracy", {"float model": 0.75, "the file": 0.7}),
            Measure(HOSTILE, {"float model": None, "the file": 0.5}),
        ],
        examples=[example(0), example(1)],
        origin={"Made by": HOSTILE},
    )
    return dataclasses.replace(
        page, agreement=agreement(path), sensitivity=sensitivity(), target="phone", **changes
    )


def agreement(path, apart=0):
    """A comparison in which `apart` steps lie between Keras and the file."""
    figures = []
    for name in (*LAYERS, "logits"):
        figures.append(Agreement(name, "CONV_2D"))
        integers = np.arange(-50, 50, dtype=np.int8).reshape(10, 10)
        figures[-1].add(integers, integers + np.int8(apart))
    return Verification(str(path), 10, "default", outputs=figures[-1:], layers=figures)


def sensitivity():
    """Costs of three layers, of which one costs nothing."""
    costs = [
        LayerCost(name, "Conv2D", "8 bits, linear, one scale a channel", "8 bits", error)
        for name, error in zip(LAYERS, (0.01, 0.0, 0.04), strict=True)
    ]
    return Sensitivity("model", "only", "all", 8, tuple(costs), whole_error=0.06)


def example(number):
    """One image; of the second the models disagree."""
    predictions = [(HOSTILE, 0.9), ("cat", 0.1)]
    return Example(
        title=f"image {number} {HOSTILE}",
        truth=HOSTILE,
        picture=picture("PNG"),
        views=[
            View("float model", predictions, picture("JPEG")),
            View("the file", predictions[::-1] if number else predictions),
        ],
    )


def picture(kind):
    """The content of a picture file of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()
