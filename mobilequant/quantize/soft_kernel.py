"""A kernel of a quantized layer while it learns how to round."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import ops

from mobilequant.layers import FoldedLayer
from mobilequant.quantize.state import quantized_layers
from mobilequant.quantizers.learned_rounding import (
    least_error_step,
    neighbours,
    soft_share,
    soft_start,
)


class SoftKernel:
    """A kernel whose weights lie between two integers, and learn which one to take.

    Args:
        layer: The `FoldedLayer` whose kernel it stands for.

    Attributes:
        layer: The same.
        variable: What is trained, a number a weight.
    """

    def __init__(self, layer):
        self.layer = layer
        scheme = layer.weight_scheme
        kernel = ops.convert_to_numpy(layer.flat_kernel())
        mask = layer.weight_quantizer.mask(kernel)
        self._mask = None if mask is None else ops.convert_to_numpy(mask)
        if scheme.range == "learned":
            self._step = ops.convert_to_numpy(layer.weight_quantizer.learned_step(kernel))
        else:
            self._step = least_error_step(kernel, scheme.bits, self._mask)
        if scheme.granularity == "tensor" and scheme.range != "learned":
            self._step = self._step.max()
        largest = layer.weight_quantizer.largest
        f = kernel / self._step
        self._below, self._gap, share = neighbours(f, scheme.bits)
        # The ends of the grid stay where they are, so that it is found again.
        self._pinned = np.abs(f) >= largest * (1 - 1e-6)
        self._ridge = scheme.ridge if scheme.estimator == "denoise" else 0.0
        self._share = share
        self.variable = keras.Variable(soft_start(share), dtype="float32", name="share")

    def now(self):
        """The kernel as it is now, and how far up its weights went."""
        share = ops.where(self._pinned, self._share, soft_share(self.variable))
        return self._kernel(share), share

    def decide(self, qmodel):
        """Gives the layer the integers that are nearer, and the range that finds them again."""
        share = ops.convert_to_numpy(soft_share(self.variable)) >= 0.5
        share = np.where(self._pinned, self._share >= 0.5, share)
        integers = self._integers(share.astype("float32"))
        layer = self.layer
        layer.set_flat_kernel(ops.convert_to_numpy(integers) * self._step)
        if layer.weight_scheme.range != "learned":
            scheme = dataclasses.replace(layer.weight_scheme, range="minmax", range_width=None)
            use_weight_scheme(qmodel, layer, scheme)

    def _integers(self, share):
        integers = self._below + self._gap * share
        return integers if self._mask is None else integers * self._mask

    def _kernel(self, share):
        integers = self._integers(share)
        axes = list(range(len(integers.shape) - 1))
        if self.layer.weight_scheme.granularity == "tensor":
            axes = None
        # What the ridge regression will make of the scale.
        square = ops.mean(ops.square(ops.stop_gradient(integers)), axis=axes)
        return integers * (self._step * square / ops.maximum(square + self._ridge, 1e-12))


def use_weight_scheme(qmodel, layer, scheme):
    """Changes the scheme of weights, also where other layers share them."""
    for member in quantized_layers(qmodel):
        if isinstance(member, FoldedLayer) and member.layer is layer.layer:
            member.weight_scheme = member.weight_quantizer.scheme = scheme
