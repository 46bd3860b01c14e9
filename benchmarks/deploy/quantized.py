"""The network quantized without labels: ranges alone, new statistics, or learned rounding."""

from __future__ import annotations

import json

import keras
from deploy import images

import mobilequant as mq

#: What is done before ranges are measured: nothing; batch normalization is measured anew behind
#: the quantized weights; or every block learns from the float network how its weights are rounded.
METHODS = ("calibrated", "calibrated with batch_norm", "reconstructed")

#: Images for ranges; batches of so many.
CALIBRATION, BATCH_SIZE = 64, 16

#: Arguments on which the result depends.
SETTINGS = ("steps", "views", "seed", "limit", "measure")


def quantized(recipe, method, model, unlabelled, *, steps=1000, views=5, seed=0):
    """The network as a file holds it.

    Args:
        recipe: Of mobilequant, or its name.
        method: One of `METHODS`.
        model: The float model; it stays as it is.
        unlabelled: float32 images.
        steps: Of each block, where rounding is learned.
        views: Of each image, which it is learned from besides.
        seed: Of both.
    """
    qmodel = mq.quantize(model, recipe, target="phone")
    if method == "calibrated with batch_norm":
        mq.calibrate(qmodel, unlabelled, batch_norm=True, batch_size=BATCH_SIZE, verbose=0)
    elif method == "reconstructed":
        seen = images.with_views(unlabelled, views, seed)
        mq.reconstruct(qmodel, seen, steps=steps, seed=seed)
    return mq.calibrate(qmodel, unlabelled[:CALIBRATION], batch_size=BATCH_SIZE, verbose=0)


def kept(name, recipe, method, model, unlabelled, arguments, folder):
    """The same, from the folder where an earlier run of these settings made it.

    Args:
        name: Of its files in the folder.
        recipe, method, model, unlabelled: As for `quantized`.
        arguments: Those of the command line.
        folder: Where stages are kept.
    """
    settings = {key: getattr(arguments, key) for key in SETTINGS}
    settings |= {"recipe": repr(recipe), "method": method}
    saved, note = folder / f"{name}.keras", folder / f"{name}.json"
    if note.exists() and json.loads(note.read_text()) == settings and saved.exists():
        return keras.models.load_model(saved, compile=False)
    note.unlink(missing_ok=True)
    options = {key: getattr(arguments, key) for key in ("steps", "views", "seed")}
    qmodel = quantized(recipe, method, model, unlabelled, **options)
    qmodel.save(saved)
    note.write_text(json.dumps(settings))
    return qmodel
