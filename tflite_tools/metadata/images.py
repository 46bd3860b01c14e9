"""What a file takes as its image, and whether an app's pixels are what it was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.errors import InvalidModelError

#: How far, in steps, an integer input may take a pixel for something else than the model was
#: trained on. Between the grids of (pixel − 127.5) / 127.5 and of whole zero points lies half a
#: step; ranges from images without a fully black or white pixel are a little narrower.
_MOST_STEPS = 2.0

_COLOURS = {1: "GRAYSCALE", 3: "RGB"}


def describe_input(main: schema.SubGraphT, mean, std) -> dict[str, Any]:
    """Metadata of the image that a file takes.

    Args:
        main: The file's first subgraph.
        mean: Tuple of one number, or one for each channel.
        std: See `mean`.

    Raises:
        InvalidModelError: It does not take one image, MediaPipe does not take its type, or its
            scale does not agree with `mean` and `std`.
    """
    if main.inputs is None or len(main.inputs) != 1:
        has = 0 if main.inputs is None else len(main.inputs)
        raise InvalidModelError(f"it has {has} inputs, the task wants one image.")
    tensor = main.tensors[int(main.inputs[0])]
    channels = _channels(tensor)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise InvalidModelError(f"{len(values)} values of {name} for {channels} channels.")
    kind = flatbuffer.TENSOR_TYPES[tensor.type]
    if kind == "UINT8":
        _require_pixels(tensor, mean, std)
        low, high = [0.0], [255.0]
    elif kind == "FLOAT32":
        low, high = _ends(mean, std)
    else:
        raise InvalidModelError(
            f"its input is {kind}; apps hand images to uint8 and float32 inputs: use "
            'tflite_tools.convert(..., interface="uint8"), or --interface uint8.'
        )
    properties = {"ImageProperties": {"color_space": _COLOURS[channels]}}
    normalization = {"mean": list(mean), "std": list(std)}
    return {
        "name": "image",
        "description": "the image that the model looks at",
        "content": {"content_properties": properties},
        "process_units": [{"options": {"NormalizationOptions": normalization}}],
        "stats": {"min": low, "max": high},
    }


def _channels(tensor: schema.TensorT) -> int:
    shape = [] if tensor.shape is None else [int(n) for n in tensor.shape]
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in _COLOURS:
        raise InvalidModelError(
            f"its input has the shape {shape}, the task wants one image, (1, height, width, 3)."
        )
    return shape[3]


def _ends(mean, std) -> tuple[list[float], list[float]]:
    """What a fully black and a fully white pixel become, by channel."""
    mean, std = np.broadcast_arrays(mean, std)
    return (-mean / std).tolist(), ((255 - mean) / std).tolist()


def _require_pixels(tensor: schema.TensorT, mean, std) -> None:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return  # nothing is said of what its integers stand for
    scale = float(quantization.scale[0])
    points = quantization.zeroPoint
    zero_point = int(points[0]) if points is not None and len(points) else 0
    if not 0 < scale < np.inf:
        raise InvalidModelError(f"its input has the scale {scale}.")
    off = [
        abs(value / scale + zero_point - pixel)
        for pixel, values in zip((0, 255), _ends(mean, std), strict=True)
        for value in values
    ]
    if not max(off) <= _MOST_STEPS:
        raise InvalidModelError(
            f"an app's pixels would not be what the model was trained on: with mean "
            f"{_text(mean)} and std {_text(std)} they lie up to {max(off):.3g} steps from what its "
            f"uint8 input stands for, (pixel − {zero_point}) / {1 / scale:.6g}. Name the mean and "
            "std of the training; if these are they, calibrate on images that have black and "
            "white pixels, or put the scaling into the model (keras.layers.Rescaling)."
        )


def _text(values) -> str:
    return " ".join(f"{value:g}" for value in values)
