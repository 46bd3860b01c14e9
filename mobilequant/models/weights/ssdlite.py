"""The head of torchvision's ssdlite320_mobilenet_v3_large.

Facts about the names, taken from its files: "backbone.extra.0.1.0.weight" is in the first extra
layer the second convolution, "head.regression_head.module_list.0.1.weight" the first level's
predictor of box codes.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from mobilequant.models.weights.safetensors_file import SafetensorsFile

_EXTRA = "backbone.extra."
_HEADS = {"boxes": "head.regression_head.", "scores": "head.classification_head."}
#: Its codes are (x, y, width, height); ours are (y, x, height, width).
_CODE_ORDER = [1, 0, 3, 2]


class SSDLiteFile(SafetensorsFile):
    """Extra layers and predictors of a `.safetensors` file; the backbone loads by itself.

    Args:
        path: of the file.
        anchors_per_cell: level by level.
        extra_layers: how many there are.
        reset_classes: whether the last convolutions of the class predictors are left out.
    """

    def __init__(
        self, path: Path, anchors_per_cell: Sequence[int], extra_layers: int, reset_classes: bool
    ):
        super().__init__(path)
        self._anchors_per_cell = anchors_per_cell
        self._reset_classes = reset_classes
        keys, _ = self._read_header()
        self._names = {key: key for key in keys}
        self._pairs = [
            *_extra_layers(extra_layers),
            *_predictors(len(anchors_per_cell), reset_classes),
        ]

    def load(self, model: keras.Model) -> None:
        super().load(model)
        for level, anchors in enumerate(self._anchors_per_cell, start=1):
            for variable in model.get_layer(f"level_{level}_boxes_pointwise").weights:
                codes = np.reshape(variable, (*variable.shape[:-1], anchors, 4))
                variable.assign(codes[..., _CODE_ORDER].reshape(variable.shape))

    def _counts(self, name: str) -> bool:
        is_class = name.startswith(_HEADS["scores"]) and name.split(".")[4:5] == ["1"]
        if self._reset_classes and is_class:
            return False
        return name.startswith((_EXTRA, *_HEADS.values()))

    def _hint(self, model: keras.Model) -> str:
        key = f"{_HEADS['scores']}module_list.0.1.bias"
        if key not in self._names:
            return ". It is no file of torchvision's SSDLite"
        with self._open() as file:
            channels = file.get_slice(key).get_shape()[0]
        channels //= self._anchors_per_cell[0]
        if channels == model.output["scores"].shape[-1]:
            return ""
        return (
            f". The file knows {channels - 1} classes and the background: build with "
            f"classes={channels - 1}, or with reset_classes=True for other classes"
        )


def _extra_layers(count: int):
    parts = ("reduce", "depthwise", "pointwise")
    for layer in range(count):
        for place, part in enumerate(parts):
            name, prefix = f"extra_{layer + 1}_{part}", f"{_EXTRA}{layer}.{place}"
            yield name, f"{prefix}.0"
            yield f"{name}_bn", f"{prefix}.1"


def _predictors(levels: int, reset_classes: bool):
    for part, head in _HEADS.items():
        for level in range(levels):
            name, prefix = f"level_{level + 1}_{part}", f"{head}module_list.{level}"
            yield f"{name}_depthwise", f"{prefix}.0.0"
            yield f"{name}_depthwise_bn", f"{prefix}.0.1"
            if part == "boxes" or not reset_classes:
                yield f"{name}_pointwise", f"{prefix}.1"
