"""The quantizer of one activation tensor: its range, what training does with it, its grid."""

from __future__ import annotations

import contextlib
import contextvars

import keras
import numpy as np
from keras import ops

from mobilequant.integer.arithmetic import Grid
from mobilequant.layers.variables import read
from mobilequant.quantizers import Scheme, affine, affine_grid, fake_quantize_affine

#: Values of `ActivationQuantizer.phase`.
FLOAT, QUANTIZED, FROZEN = affine.BYPASS, affine.LIVE, affine.FROZEN

_observing = contextvars.ContextVar("mobilequant_observing", default=None)


@contextlib.contextmanager
def observing(method: str):
    """While open, calling a quantized model measures ranges and quantizes no activation.

    Args:
        method: "minmax" (the smallest and largest value seen) or "moving_average" (the average
            of the batches' smallest and largest values).
    """
    token = _observing.set(method)
    try:
        yield
    finally:
        _observing.reset(token)


def observation_method() -> str | None:
    """The `method` of the open `observing` block, or None."""
    return _observing.get()


@keras.saving.register_keras_serializable(package="mobilequant")
class ActivationQuantizer(keras.layers.Layer):
    """Quantizes one activation tensor with one scale and one integer zero point.

    In training the range is that of the batch, and a moving range follows: the plain average of
    the batches until `1 / (1 − momentum)` of them were seen, an exponential one from then on.
    Inference uses the moving range. Once frozen, training uses it too and moves it no more.

    Args:
        scheme: An affine `Scheme` of 8 bits with granularity "tensor".
        momentum: Of the moving range, in [0, 1).
        lowest: Smallest value the tensor can have, where that is known (0.0 after a ReLU): one
            pass over the tensor less.
        fixed: `(scale, zero_point)` where the file format fixes them (softmax: 1/256, −128);
            then the tensor is not quantized in training and has no moving range.
    """

    def __init__(self, scheme=None, *, momentum=0.99, lowest=None, fixed=None, **kwargs):
        super().__init__(**kwargs)
        self.scheme = Scheme(**scheme) if isinstance(scheme, dict) else scheme
        self.momentum = momentum
        self.lowest = lowest
        self.fixed = tuple(fixed) if fixed is not None else None

    def build(self, input_shape=None):
        if self.fixed is None:
            self.range = self.add_weight(
                name="range",
                shape=(2,),
                initializer="zeros",
                trainable=False,
                autocast=False,
                dtype="float32",
                aggregation="mean",
            )
            # Batches that the moving range has seen; 0: not calibrated.
            self.observed = self.add_weight(
                name="observed",
                shape=(),
                initializer="zeros",
                trainable=False,
                autocast=False,
                dtype="float32",
                aggregation="only_first_replica",
            )
        self.phase = self.add_weight(
            name="phase",
            shape=(),
            initializer=keras.initializers.Constant(QUANTIZED),
            trainable=False,
            autocast=False,
            dtype="int32",
            aggregation="only_first_replica",
        )
        self.built = True

    @property
    def calibrated(self) -> bool:
        """Whether the range is known. Reads a variable: not for use inside a graph."""
        return self.fixed is not None or float(self.observed) > 0

    def ready(self):
        """Boolean tensor: quantization is on and the range is known."""
        on = read(self.phase) > FLOAT
        if self.fixed is not None:
            return on
        return ops.logical_and(on, read(self.observed) > 0.0)

    def frozen(self):
        """Boolean tensor: ranges and batch normalization are fixed."""
        return ops.equal(read(self.phase), FROZEN)

    def grid(self) -> Grid:
        """Scale and zero point of inference, as tensors."""
        if self.fixed is not None:
            return Grid(*(ops.convert_to_tensor(v, dtype="float32") for v in self.fixed))
        moving = read(self.range)
        return Grid(*affine_grid(moving[0], moving[1], self.scheme.bits))

    def call(self, x):
        """Training: quantizes `x`, by phase, and lets the moving range follow."""
        if self.fixed is not None:
            return x
        low, high = self._extremes(x)
        moving = read(self.range)
        phase = read(self.phase)
        self._follow(ops.stack([low, high]), moving, phase)
        return fake_quantize_affine(x, (low, high), ops.unstack(moving, 2), phase, self.scheme)

    def observe(self, x, method: str):
        """Calibration: widens or averages the range by that of `x`."""
        if self.fixed is not None:
            return
        low, high = self._extremes(x)
        batch = ops.stack([low, high])
        moving, seen = read(self.range), read(self.observed)
        if method == "minmax":
            wider = ops.stack([ops.minimum(moving[0], low), ops.maximum(moving[1], high)])
            batch = ops.where(seen > 0, wider, batch)
        else:
            batch = moving + (batch - moving) / (seen + 1.0)
        self.range.assign(batch)
        self.observed.assign(seen + 1.0)

    def reset(self):
        """Forgets the range."""
        if self.fixed is None:
            self.range.assign(np.zeros(2, "float32"))
            self.observed.assign(0.0)

    def get_config(self):
        return {
            **super().get_config(),
            "scheme": self.scheme.get_config() if self.scheme else None,
            "momentum": self.momentum,
            "lowest": self.lowest,
            "fixed": list(self.fixed) if self.fixed else None,
        }

    def _extremes(self, x):
        x = ops.stop_gradient(x)
        low = ops.min(x) if self.lowest is None else ops.convert_to_tensor(self.lowest, x.dtype)
        return low, ops.max(x)

    def _follow(self, batch, moving, phase):
        seen = read(self.observed)
        step = ops.where(
            ops.equal(phase, FROZEN), 0.0, ops.maximum(1.0 - self.momentum, 1.0 / (seen + 1.0))
        )
        self.range.assign(moving + (batch - moving) * step)
        self.observed.assign(seen + ops.where(ops.equal(phase, FROZEN), 0.0, 1.0))
