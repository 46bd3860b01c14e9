"""Modules that are imported when they are first used, not when something is defined with them."""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """Stands for a module until an attribute of it is asked for.

    Detection is written on TensorFlow, and models of it import detection: with this, building
    them on Keras' JAX backend needs no TensorFlow.

    Args:
        name: The module's full name.
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)

    def __repr__(self):
        return f"<{self._name}, imported when it is used>"
