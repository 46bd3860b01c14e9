"""The quantizer of one weight tensor: what it learns and counts besides the weights."""

from __future__ import annotations

import math

import keras
from keras import ops

from mobilequant.layers.variables import read, scale_gradient
from mobilequant.quantizers import (
    Scheme,
    fake_quantize,
    group_axes,
    largest_integer,
    levels,
    quantize_linear,
    ramped_share,
    sparsity_mask,
    step_count,
    weight_range,
)
from mobilequant.quantizers.exact import rounded


@keras.saving.register_keras_serializable(package="mobilequant")
class WeightQuantizer(keras.layers.Layer):
    """Quantizes one weight tensor, laid out with the output channels last.

    Args:
        scheme: `Scheme` of the weights.

    Attributes:
        unit: The step size where learning started; with `range="learned"` only.
        step: Learned step size (arXiv:1902.08153) in these units, trainable, from 1. (So that one
            learning rate suits it and the weights: Adam moves every variable by about its rate.)
        offset: Learned lower end of an affine range in these units, trainable.
        steps_seen: Training steps of the sparsity ramp, with `sparsity_ramp` only.
    """

    def __init__(self, scheme, **kwargs):
        super().__init__(**kwargs)
        self.scheme = Scheme(**scheme) if isinstance(scheme, dict) else scheme
        if self.scheme.range == "moving":
            raise ValueError(
                f"{self.name!r}: range 'moving' is for activations; a weight tensor is all there "
                "at every step, use 'minmax'."
            )
        if self.scheme.range == "learned" and self.scheme.granularity == "block":
            raise ValueError(
                f"{self.name!r}: ranges of blocks are not learned; use granularity 'channel' or "
                "'tensor', or another range."
            )

    def build(self, kernel):
        """Makes the variables; a learned range starts from `kernel`, see `Scheme.range`."""
        if self.scheme.range == "learned":
            kernel = ops.convert_to_tensor(kernel)
            low, high = weight_range(kernel, self.scheme, self._axes(kernel), self.mask(kernel))
            affine = self.scheme.grid == "affine"
            span = (high - low) if affine else high
            unit = ops.maximum(span / step_count(self.scheme), 1e-8)
            self.unit = self._number("unit", unit, trainable=False)
            self.step = self._number("step", ops.ones_like(unit))
            self.offset = self._number("offset", low / unit) if affine else None
        if self.scheme.sparsity_ramp:
            self.steps_seen = self.add_weight(
                name="steps_seen",
                shape=(),
                initializer="zeros",
                trainable=False,
                autocast=False,
                dtype="float32",
                aggregation="only_first_replica",
            )
        self.built = True

    def call(self, kernel, on):
        """Training: the fake-quantized weights.

        Args:
            kernel: Weights, output channels last.
            on: Boolean scalar tensor: quantization is on.
        """
        if self.scheme.sparsity_ramp:
            self.steps_seen.assign(read(self.steps_seen) + ops.cast(on, "float32"))
        return self.simulate(kernel, on)

    def simulate(self, kernel, on=True):
        """What training computes with, without counting a step."""
        if not self.scheme.quantized and self.scheme.sparsity is None:
            return kernel
        learned, share = self._range(kernel), self._share()
        return fake_quantize(kernel, self.scheme, learned=learned, share=share, on=on)

    def integers(self, kernel):
        """Integers and scales of linear weights, see `quantizers.quantize_linear`."""
        axes = self._axes(kernel)
        learned, share = self._range(kernel, exact=True), self._share()
        return quantize_linear(kernel, self.scheme, axes, learned=learned, share=share)

    def levels(self, kernel):
        """The whole numbers of any scheme, see `quantizers.levels`; counts no step."""
        learned, share = self._range(kernel), self._share()
        return levels(kernel, self.scheme, learned=learned, share=share)

    def mask(self, kernel):
        """Ones where a weight stays, zeros where sparsity drops it; None without sparsity."""
        if self.scheme.sparsity is None:
            return None
        return sparsity_mask(kernel, self.scheme, self._share())

    def share_of_zeros(self):
        """The share that unstructured sparsity drops now."""
        share = self._share()
        return self.scheme.sparsity if share is None else share

    def learned_step(self, kernel):
        """The learned distance of two integers, one or one a channel."""
        _, span = self._range(kernel, exact=True)
        return ops.reshape(span / step_count(self.scheme), self.step.shape[-1:])

    def get_config(self):
        return {**super().get_config(), "scheme": self.scheme.get_config()}

    @property
    def largest(self) -> int:
        """Largest magnitude of the integers."""
        return largest_integer(self.scheme.bits)

    def _axes(self, kernel):
        return group_axes(len(kernel.shape), self.scheme.granularity)

    def _share(self):
        if not self.scheme.sparsity_ramp or not self.built:
            return None
        return ramped_share(self.scheme, read(self.steps_seen))

    def _range(self, kernel, exact=False):
        """The learned range; `exact` without what only its gradient needs, and may round."""
        if self.scheme.range != "learned":
            return None
        count = math.prod(kernel.shape) / math.prod(self.step.shape)
        steps = step_count(self.scheme)
        # arXiv:1902.08153, section 2.2: the gradient of the step is scaled by 1 / √(N·Q_P).
        share = 1.0 if exact else (count * steps) ** -0.5
        unit = read(self.unit)
        span = rounded(unit * scale_gradient(ops.abs(read(self.step)), share))
        span = rounded(span * float(steps))
        if self.offset is None:
            return -span, span
        low = unit * scale_gradient(read(self.offset), share)
        return low, low + span

    def _number(self, name, value, trainable=True):
        return self.add_weight(
            name=name,
            shape=tuple(value.shape),
            initializer=lambda shape, dtype=None: ops.cast(value, dtype or "float32"),
            trainable=trainable,
            autocast=False,
            dtype="float32",
        )
