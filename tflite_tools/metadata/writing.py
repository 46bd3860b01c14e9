"""Puts metadata into a file."""

from __future__ import annotations

import copy
import os

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.errors import InvalidModelError
from tflite_tools.metadata import archive, coding, reading
from tflite_tools.metadata.tables import IDENTIFIER
from tflite_tools.metadata.tasks import ImageClassifier, ImageSegmenter, ObjectDetector
from tflite_tools.serialization import serialize
from tflite_tools.writing import writable, write_whole

Task = ImageClassifier | ObjectDetector | ImageSegmenter


def write(
    path: str | os.PathLike, task: Task, output: str | os.PathLike | None = None
) -> reading.Metadata:
    """Writes metadata into a `.tflite` file: what apps must know of it beside its numbers.

        from tflite_tools import metadata
        metadata.write("m.tflite", metadata.ImageClassifier(labels=["cat", "dog"]))

    Operators and weights stay as they are. Metadata that were there are replaced, and so are all
    associated files. The file is written whole or not at all.

    Args:
        path: A file with one image as its input, uint8 or float32, by whomever it was written.
        task: What the file does.
        output: Where to write; by default into the file itself.

    Returns:
        The metadata as they are read back.

    Raises:
        InvalidModelError: The file cannot be read, or is not what the task says.
        ValueError: `score_calibration` is for another number of classes.
        ConversionError: It cannot be written.
    """
    data = flatbuffer.read_bytes(path)
    model = flatbuffer.parse(data, path)
    try:
        written = embed(model, task)
    except InvalidModelError as error:
        raise reading.named(error, path) from error
    output = path if output is None else output
    write_whole(writable(output, overwrite=True), written)
    return reading.of_model(flatbuffer.parse(written, output), written)


def embed(model: schema.ModelT, task: Task) -> bytes:
    """The bytes of a parsed model with its metadata; the model itself stays as it is.

    Raises:
        InvalidModelError: The model is not what the task says.
        ValueError: `score_calibration` is for another number of classes.
    """
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise InvalidModelError("files with weights behind the flatbuffer take no metadata.")
    values, files = task.describe(model)
    content = coding.encode("ModelMetadata", values, IDENTIFIER)
    model = copy.copy(model)
    place = _place(model)
    kept = [entry for entry in model.metadata or () if flatbuffer.text(entry.name) != reading.ENTRY]
    model.metadata = [*kept, schema.MetadataT(name=reading.ENTRY, buffer=place)]
    buffer = schema.BufferT(data=np.frombuffer(content, np.uint8))
    model.buffers = [*model.buffers[:place], buffer, *model.buffers[place + 1 :]]
    return archive.append(serialize(model), files)


def _place(model: schema.ModelT) -> int:
    """Number of the buffer for the metadata: that of the old ones, where nothing else uses it."""
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors or ()}
    old = None
    for entry in model.metadata or ():
        if flatbuffer.text(entry.name) == reading.ENTRY:
            old = entry.buffer
        else:
            used.add(entry.buffer)
    # The first buffer stands for "no content" and must stay empty.
    return old if old and old not in used else len(model.buffers)
