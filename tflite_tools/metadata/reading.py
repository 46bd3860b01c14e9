"""What a file says of itself."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.errors import InvalidModelError
from tflite_tools.metadata import archive, coding
from tflite_tools.metadata.tables import CUSTOM_IDENTIFIER, IDENTIFIER
from tflite_tools.metadata.tasks import SEGMENTER

#: Name of the entry among a model's own metadata.
ENTRY = "TFLITE_METADATA"

_LABELS = ("TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS")
_SHOWN = 5  # labels, for people


@dataclasses.dataclass(frozen=True)
class TensorNote:
    """What is said of an input or output; what is not said is None or empty.

    Attributes:
        name: Its name for apps, not the tensor's.
        description: One line for people.
        content: "ImageProperties", "BoundingBoxProperties", "FeatureProperties", …
        properties: Of the content, such as {"color_space": "RGB"}.
        mean: Taken from each value of an input, one number or one for each channel; 0 to 255 for
            pixels.
        std: What the difference is divided by.
        labels: Names of the classes.
        score_threshold: Least score that is shown.
        score_calibration: How numbers become scores: what is done first, and the default score.
    """

    name: str = ""
    description: str = ""
    content: str | None = None
    properties: dict[str, Any] = dataclasses.field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] = ()
    score_threshold: float | None = None
    score_calibration: dict[str, Any] | None = None

    def __str__(self):
        properties = (f"{key} {value}" for key, value in self.properties.items())
        content = self.content and self.content.removesuffix("Properties")
        parts = [self.name or "(no name)", " ".join([content or "", *properties]).strip()]
        if self.mean is not None and self.std is not None:
            parts.append(f"(pixel − {_numbers(self.mean)}) / {_numbers(self.std)}")
        if self.labels:
            more = "" if len(self.labels) <= _SHOWN else ", …"
            parts.append(f"{len(self.labels)} labels ({', '.join(self.labels[:_SHOWN])}{more})")
        if self.score_calibration is not None:
            parts.append("scores calibrated")
        if self.score_threshold is not None:
            parts.append(f"scores from {self.score_threshold:g} on")
        return "; ".join(part for part in parts if part)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """TFLite metadata of a file.

    Attributes:
        name: Of the model; our own files name the task.
        description: What the model is for.
        version: Of the model.
        author: Who made it.
        license: What others may do with it.
        inputs: One for each input.
        outputs: One for each output.
        activation: Of a segmenter: "none", "sigmoid" or "softmax"; else None.
        files: Name and bytes of each associated file.
        minimum_parser: First version of the metadata's format that knows all of it, or None.
    """

    name: str
    description: str
    version: str
    author: str
    license: str
    inputs: list[TensorNote]
    outputs: list[TensorNote]
    activation: str | None
    files: dict[str, int]
    minimum_parser: str | None

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return dataclasses.asdict(self)

    def __str__(self):
        about = [
            f"{field:<12}{getattr(self, field)}"
            for field in ("name", "description", "version", "author", "license", "activation")
            if getattr(self, field)
        ]
        files = ", ".join(f"{name} ({size:,} bytes)" for name, size in self.files.items())
        return "\n".join(
            [
                *about,
                *(f"{'input':<12}{note}" for note in self.inputs),
                *(f"{'output':<12}{note}" for note in self.outputs),
                f"{'files':<12}{files or 'none'}",
            ]
        )


def read(path: str | os.PathLike) -> Metadata | None:
    """The TFLite metadata of a file, by whomever it was written.

    Args:
        path: Any `.tflite` file.

    Returns:
        None where the file has none.

    Raises:
        InvalidModelError: There is no such file, it is no sound TFLite model, or its metadata are
            broken.
    """
    data = flatbuffer.read_bytes(path)
    try:
        return of_model(flatbuffer.parse(data, path), data)
    except InvalidModelError as error:
        raise named(error, path) from error


def of_model(model: schema.ModelT, data: bytes) -> Metadata | None:
    """The metadata of a parsed model, and of the file that it was parsed from.

    Raises:
        InvalidModelError: They are broken.
    """
    try:
        return _read(model, data)
    except InvalidModelError as error:
        raise InvalidModelError(f"its metadata are broken: {error}") from error


def named(error: InvalidModelError, path: str | os.PathLike) -> InvalidModelError:
    """An error that begins with the file's name."""
    text = str(error)
    return InvalidModelError(text if text.startswith(f"{path}") else f"{path}: {text}")


def _read(model, data) -> Metadata | None:
    found = [entry for entry in model.metadata or () if flatbuffer.text(entry.name) == ENTRY]
    if not found:
        return None
    content = model.buffers[found[0].buffer].data
    content = b"" if content is None else bytes(content)
    values = coding.decode("ModelMetadata", content, IDENTIFIER)
    subgraph = (values.get("subgraph_metadata") or [{}])[0]
    texts = ("name", "description", "version", "author", "license")
    return Metadata(
        **{field: values.get(field, "") for field in texts},
        inputs=[_note(tensor, data) for tensor in subgraph.get("input_tensor_metadata", ())],
        outputs=[_note(tensor, data) for tensor in subgraph.get("output_tensor_metadata", ())],
        activation=_activation(subgraph.get("custom_metadata", ())),
        files=archive.sizes(data),
        minimum_parser=values.get("min_parser_version"),
    )


def _note(tensor: dict[str, Any], data: bytes) -> TensorNote:
    properties = tensor.get("content", {}).get("content_properties", {})
    (content, fields) = next(iter(properties.items()), (None, {}))
    units = {}
    for unit in tensor.get("process_units", ()):
        units |= unit.get("options", {})
    normalization = units.get("NormalizationOptions", {})
    threshold = units.get("ScoreThresholdingOptions")
    return TensorNote(
        name=tensor.get("name", ""),
        description=tensor.get("description", ""),
        content=content,
        properties=fields,
        mean=_tuple(normalization.get("mean")),
        std=_tuple(normalization.get("std")),
        labels=_labels(tensor.get("associated_files", ()), data),
        # A number that is 0 is not written.
        score_threshold=(
            None if threshold is None else threshold.get("global_score_threshold", 0.0)
        ),
        score_calibration=units.get("ScoreCalibrationOptions"),
    )


def _labels(files, data: bytes) -> tuple[str, ...]:
    for file in files:
        if file["type"] in _LABELS:
            content = archive.read(data, file.get("name", ""))
            if content is None:
                raise InvalidModelError(f"there is no associated file {file.get('name')!r}.")
            return tuple(content.decode("utf-8", "replace").splitlines())
    return ()


def _activation(custom) -> str | None:
    for entry in custom:
        if entry.get("name") == SEGMENTER:
            content = entry.get("data", b"")
            options = coding.decode("ImageSegmenterOptions", content, CUSTOM_IDENTIFIER)
            return options["activation"].lower()
    return None


def _tuple(values) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)


def _numbers(values) -> str:
    return " ".join(f"{value:g}" for value in values)
