"""Ranges from all values that the quantizers of a model see, not from each batch's extremes."""

from __future__ import annotations

import numpy as np
from keras import ops

from mobilequant.quantizers import (
    Histogram,
    histogram_dequantization,
    least_error_range,
    percentile_range,
)

#: Bins of a histogram where each channel has one.
CHANNEL_BINS = 2**10


class HistogramObserver:
    """Counts what each quantizer sees; then sets its range. For `observing`.

    Args:
        layers: The quantized layers, whose names errors tell.
        percentile: Percent of the values that ranges hold; None for the ranges with the smallest
            squared error.
    """

    def __init__(self, layers, percentile: float | None = None):
        self._names = {id(q): layer.name for layer in layers for q in layer.quantizers}
        self._percentile = percentile
        self._seen = {}

    def __call__(self, quantizer, x):
        """Counts the values of one tensor."""
        values = ops.convert_to_numpy(x)
        by_channel = quantizer.scheme.granularity == "channel"
        parts = np.moveaxis(values, -1, 0) if by_channel else [values]
        if id(quantizer) not in self._seen:
            bins = {"bins": CHANNEL_BINS} if by_channel else {}
            self._seen[id(quantizer)] = quantizer, [Histogram(**bins) for _ in parts]
        _, histograms = self._seen[id(quantizer)]
        for histogram, part in zip(histograms, parts, strict=True):
            try:
                histogram.add(part)
            except ValueError as error:
                name = self._names.get(id(quantizer), quantizer.name)
                raise ValueError(f"Layer {name!r}, calibration: {error}") from error

    def set_ranges(self, batches: int) -> None:
        """Sets the ranges of all quantizers that saw anything.

        Args:
            batches: How many batches were seen.
        """
        for quantizer, histograms in self._seen.values():
            ends = np.array([self._range(quantizer, histogram) for histogram in histograms])
            given = None
            if not quantizer.scheme.on_device_grid:
                given = np.array(
                    [
                        histogram_dequantization(histogram, quantizer.scheme, low, high)
                        for histogram, (low, high) in zip(histograms, ends, strict=True)
                    ]
                )
            shape = tuple(quantizer.range.shape)
            low, high = np.reshape(ends.T, shape).astype("float32")
            given = given if given is None else np.reshape(given.T, shape).astype("float32")
            quantizer.set_range(low, high, given, batches=batches)

    def _range(self, quantizer, histogram):
        if self._percentile is not None:
            return percentile_range(histogram, quantizer.scheme, self._percentile)
        return least_error_range(histogram, quantizer.scheme, quantizer.symmetric)
