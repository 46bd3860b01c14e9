"""`calibrate`: ranges of a quantized model from data alone."""

from __future__ import annotations

import keras
import numpy as np

from mobilequant.layers.activation_quantizer import observing
from mobilequant.quantize.state import quantized_layers, set_phase

METHODS = ("minmax", "moving_average")


def calibrate(qmodel, data, *, method="minmax", batch_size=32, steps=None, verbose="auto"):
    """Sets the ranges of a quantized model from data, without training.

    Weights are quantized while the data runs through, activations are not, and batch
    normalization uses its moving statistics.

    Args:
        qmodel: What `quantize` returned.
        data: An array of images, a `tf.data.Dataset` of batches, or any iterable of batches; each
            batch is what the model takes, or a tuple `(inputs, labels, …)`, of which the inputs
            are used. A model with several inputs takes dicts, or lists (not tuples).
        method: "minmax" (the smallest and largest value seen) or "moving_average" (the average of
            the batches' smallest and largest values, which single outliers move less).
        batch_size: Images a batch where `data` is an array.
        steps: Batches to use; all by default.
        verbose: "auto" or 1 shows a progress bar, 0 is silent.

    Returns:
        `qmodel`, calibrated in place, in the phase "quantized". If anything goes wrong, its
        former ranges stay.

    Raises:
        ValueError: No data, NaN or infinite values, a shape that the model does not take, an
            unknown method, or a model that is not quantized.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}; one of {METHODS}.")
    members = quantized_layers(qmodel)
    if not members:
        raise ValueError(
            f"Model {qmodel.name!r} is not quantized; call mobilequant.quantize(model) first."
        )
    quantizers = [quantizer for layer in members for quantizer in layer.quantizers]
    former = [quantizer.get_weights() for quantizer in quantizers]
    try:
        for quantizer in quantizers:
            quantizer.reset()
        _run(qmodel, data, method, batch_size, steps, verbose)
    except BaseException:
        for quantizer, weights in zip(quantizers, former, strict=True):
            quantizer.set_weights(weights)
        raise
    set_phase(qmodel, "quantized")
    return qmodel


def _run(qmodel, data, method, batch_size, steps, verbose):
    batches, total = _batches(data, batch_size)
    total = steps if steps is not None and (total is None or steps < total) else total
    progress = keras.utils.Progbar(total, verbose=1 if verbose in ("auto", 1, True) else 0)
    seen = 0
    with observing(method):
        for batch in batches:
            if steps is not None and seen >= steps:
                break
            inputs = _inputs(batch)
            _check(qmodel, inputs, seen)
            qmodel(inputs, training=False)
            seen += 1
            progress.update(seen, finalize=seen == total)
    if not seen:
        raise ValueError("The calibration data is empty; give at least one batch of images.")
    if total != seen:
        progress.update(seen, finalize=True)


def _batches(data, batch_size):
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        array = np.asarray(data)
        if not array.size:
            raise ValueError(
                f"The calibration data is empty (an array of shape {array.shape}); give at least "
                "one image."
            )
        count = -(-len(array) // batch_size)
        return (array[i * batch_size : (i + 1) * batch_size] for i in range(count)), count
    if hasattr(data, "cardinality"):
        count = int(data.cardinality())
        return data, count if count >= 0 else None
    if not hasattr(data, "__iter__"):
        raise ValueError(
            "Calibration data must be an array, a tf.data.Dataset or an iterable of batches, not "
            f"{type(data).__name__}."
        )
    return data, len(data) if hasattr(data, "__len__") else None


def _inputs(batch):
    return batch[0] if isinstance(batch, tuple) else batch


def _check(qmodel, inputs, index):
    flat = keras.tree.flatten(inputs)
    expected = keras.tree.flatten(qmodel.inputs)
    if len(flat) != len(expected):
        raise ValueError(
            f"Calibration batch {index} has {len(flat)} inputs, the model takes {len(expected)}."
        )
    for array, tensor in zip(flat, expected, strict=True):
        array = keras.ops.convert_to_numpy(array)
        shape = tuple(array.shape)
        fits = len(shape) == len(tensor.shape) and all(
            want in (None, have) for want, have in zip(tensor.shape[1:], shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"Calibration batch {index} has shape {shape}, the model's input "
                f"{tensor._keras_history.operation.name!r} takes {tuple(tensor.shape)}."
            )
        if not shape[0]:
            raise ValueError(f"Calibration batch {index} holds no images.")
        if not np.all(np.isfinite(array.astype("float32"))):
            raise ValueError(f"Calibration batch {index} holds NaN or infinite values.")
