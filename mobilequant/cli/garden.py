"""The models that have a name, and what each costs, without importing TensorFlow."""

from __future__ import annotations

import json
from importlib import resources


def entries() -> list[dict]:
    """One entry a model, as `benchmarks/garden.py` measured and packed it.

    Each has "name", "builder" and "options" (how to make it), "input_size", "parameters",
    "multiply_adds", "int8_bytes" (the `.tflite` file for 1000 classes) and "edgetpu_share" (of
    the file's operators).
    """
    text = resources.files("mobilequant").joinpath("models", "table.json").read_text("utf-8")
    return json.loads(text)


def builders() -> tuple[str, ...]:
    """Names of the builders in `mobilequant.models`, in the order of the table."""
    return tuple(dict.fromkeys(entry["builder"] for entry in entries()))
