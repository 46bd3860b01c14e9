"""`calibrate`: ranges of a quantized model from data alone."""

from __future__ import annotations

import numbers

import keras

from mobilequant.layers.activation_quantizer import observing
from mobilequant.quantize.batches import check_batch, in_batches, inputs_of
from mobilequant.quantize.histograms import HistogramObserver
from mobilequant.quantize.state import quantized_layers, set_phase

#: Percent of all values that a range by percentile holds.
DEFAULT_PERCENTILE = 99.99

METHODS = ("minmax", "moving_average", "percentile", "mse")


def calibrate(
    qmodel,
    data,
    *,
    method="minmax",
    percentile=None,
    batch_size=32,
    steps=None,
    verbose="auto",
):
    """Sets the ranges of a quantized model from data, without training.

    Weights are quantized while the data runs through, activations are not, and batch
    normalization uses its moving statistics.

    Methods:
        "minmax": The smallest and largest value seen. Nothing clips; a single outlier costs
            resolution everywhere. At 8 bits usually best.
        "moving_average": The average of the batches' smallest and largest values, which single
            outliers move less.
        "percentile": Of all values seen (not of each batch), so many percent lie inside, as many
            below as above.
        "mse": The range that quantizes all values seen with the smallest mean squared error, by
            the quantizer's own bits and grid; both ends are searched. For less than 8 bits.

    The last two count values in histograms of 16,384 bins a tensor (1,024 a channel, where each
    channel has a scale), of which what was seen always fills more than half. Activations whose
    scheme has a rule of its own for ranges ("std", "learned") start from it with the first two
    methods: its average over the batches.

    Args:
        qmodel: What `quantize` returned.
        data: An array of images, a `tf.data.Dataset` of batches, or any iterable of batches; each
            batch is what the model takes, or a tuple `(inputs, labels, …)`, of which the inputs
            are used. A model with several inputs takes dicts, or lists (not tuples).
        method: See above.
        percentile: With "percentile": percent, above 0 and up to 100; 99.99 by default.
        batch_size: Images a batch where `data` is an array.
        steps: Batches to use; all by default.
        verbose: "auto" or 1 shows a progress bar, 0 is silent.

    Returns:
        `qmodel`, calibrated in place, in the phase "quantized". If anything goes wrong, its
        former ranges stay.

    Raises:
        ValueError: No data, NaN or infinite values, a shape that the model does not take, an
            unknown method or an argument that is not the method's, or a model that is not
            quantized.
    """
    percentile = _checked(method, percentile)
    members = quantized_layers(qmodel)
    if not members:
        raise ValueError(
            f"Model {qmodel.name!r} is not quantized; call mobilequant.quantize(model) first."
        )
    observer = method
    if method in ("percentile", "mse"):
        observer = HistogramObserver(members, percentile)
    quantizers = [quantizer for layer in members for quantizer in layer.quantizers]
    former = [quantizer.get_weights() for quantizer in quantizers]
    try:
        for quantizer in quantizers:
            quantizer.reset()
        batches = _run(qmodel, data, observer, batch_size, steps, verbose)
        if isinstance(observer, HistogramObserver):
            observer.set_ranges(batches)
    except BaseException:
        for quantizer, weights in zip(quantizers, former, strict=True):
            quantizer.set_weights(weights)
        raise
    set_phase(qmodel, "quantized")
    return qmodel


def _checked(method, percentile):
    """The percentile, or its default; ValueError where an argument is not the method's."""
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}; one of {METHODS}.")
    if method != "percentile" and percentile is not None:
        raise ValueError(
            f"Method {method!r} takes no percentile; use method='percentile', or leave it out."
        )
    if method != "percentile":
        return None
    percentile = DEFAULT_PERCENTILE if percentile is None else percentile
    number = isinstance(percentile, numbers.Real) and not isinstance(percentile, bool)
    if not number or not 0 < percentile <= 100:
        raise ValueError(
            f"percentile is a number of percent above 0, up to 100, such as 99.99; not "
            f"{percentile!r}."
        )
    return float(percentile)


def _run(qmodel, data, observer, batch_size, steps, verbose):
    """Runs the data through; returns how many batches there were."""
    batches, total = in_batches(data, batch_size)
    total = steps if steps is not None and (total is None or steps < total) else total
    progress = keras.utils.Progbar(total, verbose=1 if verbose in ("auto", 1, True) else 0)
    seen = 0
    with observing(observer):
        for batch in batches:
            if steps is not None and seen >= steps:
                break
            inputs = inputs_of(batch)
            check_batch(qmodel, inputs, seen)
            qmodel(inputs, training=False)
            seen += 1
            progress.update(seen, finalize=seen == total)
    if not seen:
        raise ValueError("The data is empty; give at least one batch of images.")
    if total != seen:
        progress.update(seen, finalize=True)
    return seen
