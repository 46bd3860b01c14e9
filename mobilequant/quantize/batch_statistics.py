"""Statistics of batch normalization, measured anew behind quantized weights."""

from __future__ import annotations

import numpy as np
from keras import ops


class BatchStatistics:
    """Mean and variance of all that goes into each batch normalization.

    Weights of few bits shift and stretch what a convolution gives, channel by channel; the moving
    statistics are still those of the float weights. While batches run through, each normalization
    normalizes by the batch, as in training, so that what comes behind it sees what it saw then.
    """

    def __init__(self):
        self._seen = {}

    def observe(self, normalization, y, bias):
        """Counts a batch; `y` is what goes in, without the bias."""
        axes = list(range(len(y.shape) - 1))
        mean, variance = (np.asarray(part, "float64") for part in ops.moments(y, axes))
        if bias is not None:
            mean = mean + np.asarray(bias, "float64")
        count = np.prod(y.shape[:-1])
        _, total, sums, squares = self._seen.get(id(normalization), (None, 0, 0.0, 0.0))
        self._seen[id(normalization)] = (
            normalization,
            total + count,
            sums + count * mean,
            squares + count * (variance + mean**2),
        )

    def assign(self):
        """Makes what was seen the moving statistics."""
        for normalization, count, sums, squares in self._seen.values():
            mean = sums / count
            normalization.moving_mean.assign(mean)
            normalization.moving_variance.assign(np.maximum(squares / count - mean**2, 0.0))
