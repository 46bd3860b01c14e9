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

    Rounding changes the mean of what a convolution gives, behind ReLU6 by far more than all else;
    an offset a channel takes that off again, and weights need not (arXiv:1906.04721, section 4.2).

    Args:
        layer: The `FoldedLayer` whose kernel it stands for.
        corrects: Whether its offset may change: it has one, which no other call uses.

    Attributes:
        layer: The same.
        variable: What is trained, a number a weight.
    """

    def __init__(self, layer, corrects=False):
        self.layer = layer
        self.corrects = corrects
        scheme = layer.weight_scheme
        quantizer = layer.weight_quantizer
        kernel = ops.convert_to_numpy(layer.flat_kernel())
        self._float = kernel
        self._mask = _mask(quantizer, kernel)
        if scheme.range == "learned":
            self._step = ops.convert_to_numpy(quantizer.learned_step(kernel))
        else:
            groups = (-1, 1 if scheme.granularity == "tensor" else kernel.shape[-1])
            mask = None if self._mask is None else self._mask.reshape(groups)
            self._step = least_error_step(kernel.reshape(groups), scheme.bits, mask)
        largest = quantizer.largest
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

    def infer(self, layer, x, kernel):
        """The layer, or another one with its weights, with a kernel that `now` gave."""
        shift = layer.mean_change(x, kernel - self._float) if self.corrects else None
        return layer.infer_with(x, kernel, shift)

    def correct(self, mean):
        """Takes off what rounding has added to the mean.

        Args:
            mean: Of what the layer takes, over all images, with a first dimension of 1.
        """
        layer = self.layer
        kernel = layer.weight_quantizer.simulate(layer.flat_kernel())
        layer.take_off(layer.mean_change(mean, kernel - self._float))

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


def _mask(quantizer, kernel):
    """Ones where a weight stays, as the quantizer sees it in the rounded kernel; or None."""
    mask = quantizer.mask(kernel)
    if mask is None:
        return None
    mask = ops.convert_to_numpy(mask)
    if isinstance(quantizer.scheme.sparsity, str):
        return mask
    # Weights that are 0 already, all equal, may be more than what is to be dropped: all stay, and
    # at 1 and 2 bits become ±1. Drop as many as the share says, or others go afterwards.
    dropped = int(float(quantizer.share_of_zeros()) * kernel.size + 1e-3)
    smallest = np.argsort(np.abs(kernel), axis=None, kind="stable")[:dropped]
    mask = np.ones(kernel.size, "float32")
    mask[smallest] = 0.0
    return mask.reshape(kernel.shape)


def use_weight_scheme(qmodel, layer, scheme):
    """Changes the scheme of weights, also where other layers share them."""
    for member in quantized_layers(qmodel):
        if isinstance(member, FoldedLayer) and member.layer is layer.layer:
            member.weight_scheme = member.weight_quantizer.scheme = scheme
