"""Prints TFLite metadata as MediaPipe's generated classes read them; runs where MediaPipe is.

    python mediapipe_schema.py METADATA

What a class leaves at its default is left out; the names are in camel case.
"""

import json
import sys

from mediapipe.tasks.metadata import metadata_schema_py_generated as schema


def plain(value):
    """An object of the generated classes as JSON has it."""
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if hasattr(value, "__dict__"):
        return {key: plain(item) for key, item in vars(value).items() if item is not None}
    return value


with open(sys.argv[1], "rb") as file:
    print(json.dumps(plain(schema.ModelMetadataT.InitFromPackedBuf(file.read()))))
