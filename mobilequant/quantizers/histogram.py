"""Histograms of all values of a tensor over any number of batches, in bounded memory."""

from __future__ import annotations

import math

import numpy as np

#: Bins; what was seen always fills more than half of them, so that one bin is between 1/8192 and
#: 1/16384 of the distance from the smallest to the largest value.
BINS = 2**14

#: Values counted at once.
_CHUNK = 2**20

#: Powers of two of a bin's width below which float32 has no numbers.
_SMALLEST_EXPONENT = -149


class Histogram:
    """Counts of values in bins of equal width, a power of two, aligned to 0.

    Bin i holds [i·w, (i + 1)·w). Where new values need more bins than there are, w doubles, and
    two bins become one: the result is what counting with the wider bins from the beginning would
    have given, so that neither the order of the batches nor their size matters.

    Args:
        bins: How many, at least 2.

    Attributes:
        low, high: Smallest and largest value seen, exactly.
        total: How many values were counted.
    """

    def __init__(self, bins: int = BINS):
        self.low, self.high = math.inf, -math.inf
        self.total = 0
        self._exponent = _SMALLEST_EXPONENT
        self._first = 0
        self._counts = np.zeros(bins, np.int64)

    @property
    def width(self) -> float:
        """Width of a bin: how exact a quantile is."""
        return 2.0**self._exponent

    def add(self, values) -> None:
        """Counts values.

        Args:
            values: float32 array of any shape.

        Raises:
            ValueError: Some are NaN or infinite.
        """
        values = np.asarray(values).reshape(-1)
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not math.isfinite(low) or not math.isfinite(high):
            raise ValueError("NaN or infinite values have no range.")
        self._make_room(min(low, self.low), max(high, self.high))
        for start in range(0, values.size, _CHUNK):
            # In float64 the product with a power of two is exact.
            scaled = values[start : start + _CHUNK].astype(np.float64) / self.width
            indices = np.floor(scaled).astype(np.int64) - self._first
            self._counts += np.bincount(indices, minlength=len(self._counts))
        self.total += values.size

    def quantile(self, share: float) -> float:
        """The value that so large a share of all values lies below, to within one bin.

        Args:
            share: From 0 (the smallest value, exactly) to 1 (the largest, exactly).
        """
        indices, counts = self._filled()
        cumulative = np.cumsum(counts)
        place = min(int(np.searchsorted(cumulative, share * self.total)), len(counts) - 1)
        inside = 1.0 - (cumulative[place] - share * self.total) / counts[place]
        value = (indices[place] + inside) * self.width
        if share in (0.0, 1.0):
            value = (self.low, self.high)[int(share)]
        return float(np.clip(value, self.low, self.high))

    def magnitudes(self) -> Histogram:
        """The histogram of the absolute values, to within one bin."""
        indices, counts = self._filled()
        folded = Histogram(len(self._counts))
        inside = self.low <= 0.0 <= self.high
        folded.low = 0.0 if inside else min(abs(self.low), abs(self.high))
        folded.high = max(abs(self.low), abs(self.high))
        folded.total = self.total
        indices = np.where(indices < 0, -1 - indices, indices)
        folded._exponent, folded._first = self._exponent, int(indices.min())
        np.add.at(folded._counts, indices - folded._first, counts)
        return folded

    def values(self):
        """The middles of the bins that hold something, and what share of all values each holds.

        Returns:
            Two float64 arrays of equal length.
        """
        indices, counts = self._filled()
        middles = np.clip((indices + 0.5) * self.width, self.low, self.high)
        return middles, counts / self.total

    def _filled(self):
        (places,) = np.nonzero(self._counts)
        return places + self._first, self._counts[places]

    def _make_room(self, low, high):
        """Widens the bins until they hold both values."""
        bins = len(self._counts)
        span, magnitude = high - low, max(abs(low), abs(high))
        # Never so narrow that a whole number of bins up to the largest value is no float64.
        exponent = max(
            math.frexp(span / bins)[1] - 2 if span else _SMALLEST_EXPONENT,
            math.frexp(magnitude)[1] - 48 if magnitude else _SMALLEST_EXPONENT,
            self._exponent,
            _SMALLEST_EXPONENT,
        )
        while math.floor(high / 2.0**exponent) - math.floor(low / 2.0**exponent) >= bins:
            exponent += 1
        first = math.floor(low / 2.0**exponent)
        indices, counts = self._filled()
        self._counts = np.zeros(bins, np.int64)
        merged = indices >> min(exponent - self._exponent, 63)
        np.add.at(self._counts, merged - first, counts)
        self.low, self.high = low, high
        self._exponent, self._first = exponent, first
