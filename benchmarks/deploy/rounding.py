"""Weights of few bits whose rounding errors make up for one another, without training.

GPTQ (Frantar et al. 2022, arXiv:2210.17323) for 1×1 convolutions: weights are rounded one input
channel after the other, and those still to come take over what the others' rounding changed in the
outputs, as far as the inputs are correlated.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from deploy import images

#: Largest integer of a weight of 4 bits.
LARGEST = 7

#: Ranges that are tried for each output channel, as shares of its largest weight.
RANGES = np.arange(1.0, 0.5, -0.05)

#: What is added to the diagonal, as a share of its mean, so that the inverse exists.
DAMPING = 0.01


def round_pointwise(model, teacher, unlabelled):
    """Puts the weights of a network's 1×1 convolutions on grids of 4 bits.

    The largest weight of each channel becomes the end of its grid, so that a quantizer with
    `range="minmax"` finds the same grid again.

    Args:
        model: Whose weights change.
        teacher: The same network as it was.
        unlabelled: float32 images, from which the inputs of the layers come.
    """
    layers = [
        layer
        for layer in teacher.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1)
    ]
    for layer, moments in zip(layers, _second_moments(teacher, layers, unlabelled), strict=True):
        kernel = layer.kernel.numpy()
        rounded = compensated(kernel[0, 0], moments)
        model.get_layer(layer.name).kernel.assign(rounded[None, None])


def compensated(weights, moments):
    """The weights on grids, one for each output channel, with the least error of the outputs.

    Args:
        weights: float array (inputs, outputs).
        moments: Sum of x·xᵀ over the layer's inputs x, (inputs, inputs).

    Returns:
        float32 array, a scale times −7 to 7 in each column.
    """
    weights = weights.astype("float64")
    # The channels that carry most first: later ones make up for them.
    order = np.argsort(-np.diag(moments))
    factor = _factor(moments[order][:, order])
    rounded, error = None, None
    for share in RANGES:
        found = _rounded(weights, order, factor, share)
        off = weights - found
        its = np.einsum("io,ij,jo->o", off, moments, off)
        if rounded is None:
            rounded, error = found, its
        better = its < error
        rounded[:, better], error[better] = found[:, better], its[better]
    return rounded.astype("float32")


def _rounded(weights, order, factor, share):
    channels = np.arange(weights.shape[1])
    largest = np.abs(weights).max(0)
    scale = np.where(largest > 0, share * largest / LARGEST, 1.0)
    left, rounded = weights[order], np.zeros_like(weights)
    for row, number in enumerate(order):
        rounded[number] = np.clip(np.round(left[row] / scale), -LARGEST, LARGEST) * scale
        error = (left[row] - rounded[number]) / factor[row, row]
        left[row + 1 :] -= np.outer(factor[row, row + 1 :], error)
    # Where no weight is at the end of the grid the largest one goes there.
    short = channels[np.abs(rounded).max(0) < (LARGEST - 0.5) * scale]
    top = np.abs(weights).argmax(0)[short]
    rounded[top, short] = np.sign(weights[top, short]) * LARGEST * scale[short]
    return rounded


def _factor(moments):
    """Upper triangular U with UᵀU the inverse of the damped moments."""
    moments = moments.copy()
    diagonal = np.diag_indices_from(moments)
    dead = moments[diagonal] == 0
    moments[diagonal] += np.where(dead, 1.0, DAMPING * moments[diagonal].mean())
    return np.linalg.cholesky(np.linalg.inv(moments)).T


def _second_moments(model, layers, unlabelled):
    """Sum of x·xᵀ over all pixels of what each layer takes."""
    inputs = keras.Model(model.inputs, [layer.input for layer in layers])

    @tf.function
    def of_batch(batch):
        flat = [tf.reshape(x, (-1, x.shape[-1])) for x in inputs(batch, training=False)]
        return [tf.matmul(x, x, transpose_a=True) for x in flat]

    sums = [0.0] * len(layers)
    for batch in images.batches(unlabelled):
        found = of_batch(tf.constant(batch))
        sums = [total + np.asarray(one, "float64") for total, one in zip(sums, found, strict=True)]
    return sums
