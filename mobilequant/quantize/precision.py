"""Quantized layers compute in float32, whatever policy the user trains with."""

from __future__ import annotations

import contextlib

import keras


@contextlib.contextmanager
def in_float32():
    """While open, new layers get the policy "float32"."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)
