"""`from_tfmot`: a model trained with TFMOT in, a quantized Keras 3 model out.

The stages: load the model, where it is a path; read each of its wrappers as a plain Keras 3 layer
and the ranges that it holds; put the layers together as a float model; quantize that; and give
every quantizer its range.
"""

from __future__ import annotations

import dataclasses
import os

from mobilequant.quantize import Recipe, quantize
from mobilequant.tfmot.loading import load
from mobilequant.tfmot.ranges import set_ranges
from mobilequant.tfmot.rebuilding import rebuild


def from_tfmot(model):
    """Returns a model that TFMOT quantized as a quantized Keras 3 model, for target "phone".

    Weights and ranges are TFMOT's, so that the file that `tflite_tools.convert` writes has the
    integers, scales and zero points of the one that `tf.lite.TFLiteConverter` makes of the TFMOT
    model. `fit` goes on from there: the ranges of activations follow the batches as moving
    averages, as in TFMOT, and those of weights are learned (arXiv:1902.08153) from where they
    are. `mobilequant.set_phase(qmodel, "frozen")` holds ranges and batch normalization.

    Args:
        model: What TFMOT's `quantize_model` or `quantize_apply` returned (a tf_keras model), after
            training; or the path of one that was saved: a `.h5` file or a SavedModel folder.

    Returns:
        A `keras.Model`, calibrated and not compiled.

    Raises:
        ImportError: TFMOT or tf_keras is missing.
        TypeError: The model is no tf_keras model.
        ValueError: TFMOT did not quantize the model, or did not train it; or there are layers or
            quantizers in it that cannot be taken over (all are listed, by name).
    """
    if isinstance(model, (str, os.PathLike)):
        model = load(model)
    reading = rebuild(model)
    qmodel = quantize(reading.model, _recipe(), target="phone")
    set_ranges(qmodel, reading)
    return qmodel


def _recipe() -> Recipe:
    """8 bits with TFMOT's estimator and moving ranges; those of weights must be variables."""
    recipe = Recipe.named("w8a8")
    return Recipe(
        weights=dataclasses.replace(recipe.weights, estimator="lsq"),
        activations=dataclasses.replace(recipe.activations, estimator="ste", range="moving"),
        name="w8a8",
    )
