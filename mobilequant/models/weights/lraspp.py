"""The head of torchvision's lraspp_mobilenet_v3_large.

Facts about the names, taken from its files: "classifier.cbr" is the convolution of the last
features, "classifier.scale" that of the gate.
"""

from pathlib import Path

import keras

from mobilequant.models.weights.safetensors_file import SafetensorsFile

_HEAD = "classifier."
_PAIRS = [
    ("head_conv", f"{_HEAD}cbr.0"),
    ("head_conv_bn", f"{_HEAD}cbr.1"),
    ("head_gate_conv", f"{_HEAD}scale.1"),
]
_CLASSIFIERS = [
    ("low_classes", f"{_HEAD}low_classifier"),
    ("high_classes", f"{_HEAD}high_classifier"),
]


class LRASPPFile(SafetensorsFile):
    """The head in a `.safetensors` file; the backbone loads by itself.

    Args:
        path: of the file.
        reset_classes: whether the convolutions that give the scores are left out.
    """

    def __init__(self, path: Path, reset_classes: bool):
        super().__init__(path)
        keys, _ = self._read_header()
        self._names = {key: key for key in keys}
        self._pairs = [*_PAIRS, *([] if reset_classes else _CLASSIFIERS)]
        self._ignored = tuple(prefix for _, prefix in _CLASSIFIERS) if reset_classes else ()

    def _counts(self, name: str) -> bool:
        return name.startswith(_HEAD) and not name.startswith(self._ignored)

    def _hint(self, model: keras.Model) -> str:
        key = f"{_HEAD}low_classifier.bias"
        if key not in self._names:
            return ". It is no file of torchvision's LR-ASPP"
        with self._open() as file:
            classes = file.get_slice(key).get_shape()[0]
        if classes == model.get_layer("low_classes").filters:
            return ""
        return (
            f". The file knows {classes} classes: build with classes={classes}, or with "
            "reset_classes=True for other classes"
        )
