"""Calibration as `quantize` and `calibrate` do it."""

from __future__ import annotations

import contextlib
import sys

from mobilequant.cli import console, datasets


def calibrate(arguments, qmodel, name, images: int, *, reconstruct=None, **options) -> int:
    """Sets the ranges of `qmodel` from training images of `--data`, if given; returns how many.

    Args:
        reconstruct: Steps a block of `mobilequant.reconstruct`, or None.
        options: Of `mobilequant.calibrate`.
    """
    from mobilequant.quantize import calibrate
    from mobilequant.quantize import reconstruct as learn_rounding

    if arguments.data is None:
        console.note("measuring ranges without data")
        calibrate(qmodel, verbose=0, **options)
        return 0
    dataset, count = datasets.calibration_images(arguments, qmodel, name, images)
    if reconstruct:
        console.note(f"rounding weights block by block, on {count} images of {arguments.data}")
        # Keras draws its progress bar on stdout, which is for the result.
        with contextlib.redirect_stdout(sys.stderr):
            shown = int(sys.stderr.isatty())
            learn_rounding(qmodel, dataset, steps=reconstruct, verbose=shown)
    console.note(f"measuring ranges on {count} images of {arguments.data}")
    calibrate(qmodel, dataset, verbose=0, **options)
    return count
