"""`calibrate`: ranges of a quantized model from data alone."""

from __future__ import annotations

import numbers

import keras

from mobilequant.layers import FoldedLayer
from mobilequant.layers.activation_quantizer import observing
from mobilequant.quantize.batch_statistics import BatchStatistics
from mobilequant.quantize.batches import check_batch, in_batches, inputs_of
from mobilequant.quantize.data_free import synthetic_batches
from mobilequant.quantize.histograms import HistogramObserver
from mobilequant.quantize.state import quantized_layers, set_phase

#: Percent of all values that a range by percentile holds.
DEFAULT_PERCENTILE = 99.99

METHODS = ("minmax", "moving_average", "percentile", "mse", "data_free")


def calibrate(
    qmodel,
    data=None,
    *,
    method="minmax",
    percentile=None,
    input_range=None,
    batch_norm=False,
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
        "data_free": Without data, from the statistics that batch normalization keeps (in the
            spirit of arXiv:1906.04721, section 4.2.1, and arXiv:2001.00281): noise with the
            spectrum of photographs runs through, every normalization normalizes by the batch, so
            that its channels have the mean and deviation that they had in training, and ranges
            are the smallest and largest value. Statistics that training has not settled give
            ranges that are as far off.

    "percentile" and "mse" count values in histograms of 16,384 bins a tensor (1,024 a channel,
    where each channel has a scale), of which what was seen fills at least half. Activations whose
    scheme has a rule of its own for ranges ("std", "learned") start from its average over the
    batches, unless the method is one of these two.

    Args:
        qmodel: What `quantize` returned.
        data: An array of images, a `tf.data.Dataset` of batches, or any iterable of batches; each
            batch is what the model takes, or a tuple `(inputs, labels, …)`, of which the inputs
            are used. A model with several inputs takes dicts, or lists (not tuples). None with
            "data_free".
        method: See above.
        percentile: With "percentile": percent, above 0 and up to 100; 99.99 by default.
        input_range: With "data_free": (lowest, highest) of what the model takes, (−1, 1) by
            default, as the models of the garden; (0, 255) for raw pixels.
        batch_norm: Whether the data, in a pass of its own before the ranges, also gives batch
            normalization new statistics, those behind the quantized weights. For weights of 4 bits
            and less, which shift what the old ones describe; it wants some hundred images, in
            batches of 16 and more, as training had them (batch-norm re-estimation,
            arXiv:2203.11086).
        batch_size: Images a batch where `data` is an array.
        steps: Batches to use; all by default.
        verbose: "auto" or 1 shows a progress bar, 0 is silent.

    Returns:
        `qmodel`, calibrated in place, in the phase "quantized". If anything goes wrong, its
        former ranges and statistics stay.

    Raises:
        ValueError: No data, NaN or infinite values, a shape that the model does not take, an
            unknown method or an argument that is not the method's, or a model that is not
            quantized; with "data_free", a model without batch normalization, or whose first
            normalization was trained on inputs of another range; with `batch_norm`, data that can
            be gone through only once, or a model without batch normalization.
    """
    percentile = _checked(method, data, percentile, input_range)
    members = quantized_layers(qmodel)
    if not members:
        raise ValueError(
            f"Model {qmodel.name!r} is not quantized; call mobilequant.quantize(model) first."
        )
    observer = "minmax" if method == "data_free" else method
    if method in ("percentile", "mse"):
        observer = HistogramObserver(members, percentile)
    quantizers = [quantizer for layer in members for quantizer in layer.quantizers]
    synthetic = method == "data_free"
    if synthetic:
        data = synthetic_batches(qmodel, input_range, batch_size)
    normalizations = _normalizations(qmodel, data, method) if batch_norm else []
    changed = [*quantizers, *normalizations]
    former = [layer.get_weights() for layer in changed]
    try:
        if batch_norm:
            statistics = BatchStatistics()
            with observing("minmax", normalized=statistics.observe):
                _run(qmodel, data, batch_size, steps, verbose)
            statistics.assign()
        for quantizer in quantizers:
            quantizer.reset()
        with observing(observer, synthetic=synthetic):
            batches = _run(qmodel, data, batch_size, steps, verbose)
        if isinstance(observer, HistogramObserver):
            observer.set_ranges(batches)
    except BaseException:
        for layer, weights in zip(changed, former, strict=True):
            layer.set_weights(weights)
        raise
    set_phase(qmodel, "quantized")
    return qmodel


def _checked(method, data, percentile, input_range):
    """The percentile, or its default; ValueError where an argument is not the method's."""
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}; one of {METHODS}.")
    if method == "data_free" and data is not None:
        raise ValueError("Method 'data_free' takes no data; leave it out, or use another method.")
    if method != "data_free" and data is None:
        raise ValueError(
            f"Method {method!r} needs data: a few hundred images. For those who have none there is "
            "method='data_free'."
        )
    if method != "data_free" and input_range is not None:
        raise ValueError(f"Method {method!r} takes no input_range: it sees what the inputs are.")
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


def _normalizations(qmodel, data, method):
    """The layers of batch normalization; ValueError where they cannot be measured anew."""
    if method == "data_free":
        raise ValueError("batch_norm needs data: method 'data_free' starts from its statistics.")
    if hasattr(data, "__next__"):
        raise ValueError(
            "batch_norm goes through the data twice, which this iterator gives but once; use an "
            "array, a list of batches or a tf.data.Dataset."
        )
    found = {
        id(layer.normalization): layer.normalization
        for layer in quantized_layers(qmodel)
        if isinstance(layer, FoldedLayer) and layer.normalization is not None
    }
    if not found:
        raise ValueError(f"Model {qmodel.name!r} has no batch normalization; leave out batch_norm.")
    return list(found.values())


def _run(qmodel, data, batch_size, steps, verbose):
    """Runs the data through; returns how many batches there were."""
    batches, total = in_batches(data, batch_size)
    total = steps if steps is not None and (total is None or steps < total) else total
    progress = keras.utils.Progbar(total, verbose=1 if verbose in ("auto", 1, True) else 0)
    seen = 0
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
