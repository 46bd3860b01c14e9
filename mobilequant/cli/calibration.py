"""Calibration as `quantize` and `calibrate` do it."""

from __future__ import annotations

from mobilequant.cli import console, datasets


def calibrate(arguments, qmodel, name, images: int, **options) -> int:
    """Sets the ranges of `qmodel` from training images of `--data`, if given; returns how many.

    Args:
        options: Of `mobilequant.calibrate`.
    """
    from mobilequant.quantize import calibrate

    if arguments.data is None:
        console.note("measuring ranges without data")
        calibrate(qmodel, verbose=0, **options)
        return 0
    dataset, count = datasets.calibration_images(arguments, qmodel, name, images)
    console.note(f"measuring ranges on {count} images of {arguments.data}")
    calibrate(qmodel, dataset, verbose=0, **options)
    return count
