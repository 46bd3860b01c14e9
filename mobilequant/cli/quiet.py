"""Silence for native libraries, which write their notes to file descriptor 2 past Python."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile


@contextlib.contextmanager
def quiet():
    """While open, nothing that native code writes to file descriptor 2 is seen.

    `TF_CPP_MIN_LOG_LEVEL` does not reach the lines that TensorFlow logs while it is loaded, and
    LiteRT has no such setting.
    """
    sys.stderr.flush()
    try:
        former = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(former, 2)
            os.close(former)


def import_tensorflow() -> None:
    """Imports what every command needs, without the lines that it writes to stderr.

    Raises:
        Whatever the import raises.
    """
    with quiet():
        import tensorflow as tf

        import mobilequant.quantize  # noqa: F401

        # Where a driver is missing, looking for GPUs is what complains about it.
        tf.config.list_logical_devices()
    tf.get_logger().setLevel("ERROR")
