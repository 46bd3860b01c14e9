"""The quantizer of one activation tensor: its range, what training does with it, its grid."""

from __future__ import annotations

import contextlib
import contextvars
import math

import keras
import numpy as np
from keras import ops

from mobilequant.integer.arithmetic import Grid, dequantize, quantize
from mobilequant.layers.variables import read, scale_gradient
from mobilequant.quantizers import (
    Scheme,
    affine,
    affine_grid,
    fake_quantize_affine,
    group_axes,
    integer_limits,
    range_of,
    step_count,
    transform,
)
from mobilequant.quantizers.exact import rounded
from mobilequant.quantizers.replicas import extremes_over_replicas

#: Values of `ActivationQuantizer.phase`.
FLOAT, QUANTIZED, FROZEN = affine.BYPASS, affine.LIVE, affine.FROZEN

#: A method of `observing`: activations flow in float, weights are quantized, ranges stay.
NOTHING = "nothing"

_observing = contextvars.ContextVar("mobilequant_observing", default=(None, False, None))


@contextlib.contextmanager
def observing(method, *, synthetic=False, normalized=None):
    """While open, calling a quantized model measures ranges and quantizes no activation.

    Args:
        method: "minmax" (the smallest and largest value seen) or "moving_average" (the average
            of the batches' smallest and largest values); NOTHING, which measures nothing; or a
            function `(quantizer, x)`, which is called with each tensor before its quantizer
            instead.
        synthetic: Whether the inputs are no real ones, so that what is known of the real ones
            must be put back: batch normalization normalizes by the statistics of the batch, and a
            mean over an image is what any one place of it holds (the places of one real image are
            more alike than those of noise).
        normalized: A function `(normalization, y, bias)`, which is called with each batch
            normalization, what goes into it, and the bias that comes on top (or None); it
            normalizes by the statistics of the batch then.
    """
    token = _observing.set((method, synthetic, normalized))
    try:
        yield
    finally:
        _observing.reset(token)


def observation_method():
    """The `method` of the open `observing` block, or None."""
    return _observing.get()[0]


def observing_synthetic():
    """Whether an `observing` block for synthetic inputs is open."""
    return _observing.get()[1]


def observer_of_normalization():
    """The `normalized` of the open `observing` block, or None."""
    return _observing.get()[2]


#: What `simulating` can quantize.
PARTS = ("weights", "activations")

_simulating = contextvars.ContextVar("mobilequant_simulating", default=None)


@contextlib.contextmanager
def simulating(parts=PARTS):
    """While open, inference is float with fake quantization, of every layer by itself.

    Each layer goes by the phase of its own quantizers, whatever those of its inputs do: a model
    may be quantized in one layer alone. (Integers need a quantized input.) Grids that the file
    format fixes (softmax, sigmoid) stay float.

    Args:
        parts: What is quantized, of `PARTS`.
    """
    token = _simulating.set(tuple(parts))
    try:
        yield
    finally:
        _simulating.reset(token)


def simulated_parts():
    """The `parts` of the open `simulating` block, or None."""
    return _simulating.get()


@keras.saving.register_keras_serializable(package="mobilequant")
class ActivationQuantizer(keras.layers.Layer):
    """Quantizes one activation tensor.

    In training the range is that of the batch, and so is the dequantization; moving averages
    follow: the plain average of the batches until `1 / (1 − momentum)` of them were seen, an
    exponential one from then on. Inference uses the moving ones. Once frozen, training uses them
    too and moves them no more.

    At 8 bits, affine, one scale for all, it stays on a grid that a device has (an integer zero
    point), and inference on that grid. Any other scheme infers in float.

    Args:
        scheme: `Scheme` of the activations.
        momentum: Of the moving averages, in [0, 1).
        lowest: Smallest value the tensor can have, where that is known (0.0 after a ReLU): one
            pass over the tensor less.
        fixed: `(scale, zero_point)` where the file format fixes them (softmax: 1/256, −128);
            then the tensor is not quantized in training and has no moving range.

    Attributes:
        range: Moving range, (2,) or, with one scale a channel, (2, channels).
        dequantization: Moving slope and offset of y = slope·q + offset, shaped as `range`; not on
            a device's grid.
        unit, base, step, offset: With `range="learned"` only. `unit` and `base` are the step size
            and, in such steps, the lower end that `calibrate` or the first batch of training
            found; trainable, in these units, are the step size (from 1) and how far the lower
            end has moved (from 0).
        observed: Batches that the moving averages have seen; 0: not calibrated.
        symmetric: Whether the zero point is 0, as a layer behind demands; see `make_symmetric`.
        phase: FLOAT, QUANTIZED or FROZEN.
    """

    def __init__(self, scheme=None, *, momentum=0.99, lowest=None, fixed=None, **kwargs):
        super().__init__(**kwargs)
        self.scheme = Scheme(**scheme) if isinstance(scheme, dict) else scheme
        self.momentum = momentum
        self.lowest = lowest
        self.fixed = tuple(fixed) if fixed is not None else None
        self.symmetric = False
        if self.scheme is None:
            return
        if self.scheme.granularity == "block" or self.scheme.sparsity is not None:
            raise ValueError(
                f"{self.name!r}: blocks and sparsity are for weights, not for activations: "
                f"{self.scheme}."
            )

    def build(self, input_shape=None):
        if self.quantizing:
            channels = self.scheme.granularity == "channel"
            if channels and (not input_shape or input_shape[-1] is None):
                raise ValueError(f"{self.name!r}: one scale a channel needs the channels' number.")
            shape = (input_shape[-1],) if channels else ()
            self.range = self._state("range", (2, *shape))
            if not self.scheme.on_device_grid:
                self.dequantization = self._state("dequantization", (2, *shape))
            if self.scheme.range == "learned":
                affine = self.scheme.grid == "affine"
                self.unit = self._state("unit", shape)
                self.base = self._state("base", shape) if affine else None
                self.step = self._state("step", shape, trainable=True, initializer="ones")
                self.offset = self._state("offset", shape, trainable=True) if affine else None
            self.observed = self._state("observed", (), aggregation="only_first_replica")
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
    def quantizing(self) -> bool:
        """Whether it does anything: neither left in float nor fixed by the format."""
        return self.fixed is None and self.scheme.quantized

    @property
    def on_device_grid(self) -> bool:
        """Whether a device holds its output: int8, one scale, one zero point."""
        return self.fixed is not None or self.scheme.on_device_grid

    @property
    def calibrated(self) -> bool:
        """Whether the range is known. Reads a variable: not for use inside a graph."""
        return not self.quantizing or float(ops.convert_to_numpy(self.observed)) > 0

    def make_symmetric(self):
        """Makes the zero point 0, on a device's grid; layers that need it call it when linked."""
        self.symmetric = True

    def ready(self):
        """Boolean tensor: quantization is on and the range is known."""
        on = read(self.phase) > FLOAT
        if not self.quantizing:
            return on
        return ops.logical_and(on, read(self.observed) > 0.0)

    def frozen(self):
        """Boolean tensor: ranges and batch normalization are fixed."""
        return ops.equal(read(self.phase), FROZEN)

    def grid(self) -> Grid:
        """Scale and zero point of inference, as tensors; on a device's grid only."""
        if self.fixed is not None:
            return Grid(*(ops.convert_to_tensor(v, dtype="float32") for v in self.fixed))
        return Grid(*affine_grid(*self._inference_range(), self.scheme.bits))

    def call(self, x):
        """Training: quantizes `x`, by phase, and lets the moving averages follow."""
        if not self.quantizing:
            return x
        phase = read(self.phase)
        plain = self.scheme.range != "learned" and not self.scheme.clip_gradient
        if self.scheme.on_device_grid and plain:
            batch = self._batch_range(x)
            moving = read(self.range)
            moving_range = ops.unstack(moving, 2)
            if self.scheme.range == "moving":
                seen = read(self.observed) > 0.0
                used = [ops.where(seen, m, b) for m, b in zip(moving_range, batch, strict=True)]
            else:
                used = batch
            self._follow([(self.range, batch)], phase)
            return fake_quantize_affine(x, used, moving_range, phase, self.scheme, sync=True)
        return self._transform(x, phase)

    def infer(self, x):
        """Inference where the layer that follows computes in float."""
        if not self.quantizing or "activations" not in (simulated_parts() or PARTS):
            return x
        if self.scheme.on_device_grid:
            grid = self.grid()
            on_grid = dequantize(quantize(x, grid), grid)
            return ops.where(self.ready(), on_grid, x)
        low, high = self._shaped(self._inference_range(), x)
        given = self._shaped(ops.unstack(read(self.dequantization), 2), x)
        if self.scheme.estimator != "denoise":
            given = None
        on = ops.cast(self.ready(), "float32")
        return transform(x, self.scheme, self._axes(x), low, high, on=on, live=0.0, given=given)[0]

    def observe(self, x, method):
        """Calibration: widens or averages the range by that of `x`; see `observing`."""
        if not self.quantizing or method == NOTHING:
            return
        if callable(method):
            method(self, x)
            return
        batch = self._batch_range(x)
        flat = self._flat(batch)
        moving, seen = read(self.range), read(self.observed)
        if method == "minmax" and self.scheme.range in ("minmax", "moving"):
            wider = ops.stack([ops.minimum(moving[0], flat[0]), ops.maximum(moving[1], flat[1])])
            flat = ops.where(seen > 0, wider, flat)
        else:
            flat = moving + (flat - moving) / (seen + 1.0)
        given = None
        if not self.scheme.on_device_grid:
            ends = self._shaped(ops.unstack(flat, 2), x)
            _, *g = transform(x, self.scheme, self._axes(x), *ends)
            former = read(self.dequantization)
            given = former + (self._flat(g) - former) / (seen + 1.0)
        self._keep(flat, given, seen + 1.0)

    def set_range(self, low, high, dequantization=None, *, batches=1):
        """Sets the range of inference, and where training starts from.

        Args:
            low, high: Numbers, or arrays of one number a channel.
            dequantization: Slopes and offsets, shaped as the range; needed if not on a device's
                grid.
            batches: How many batches the range stands for, see `observed`.
        """
        low, high = (ops.convert_to_tensor(end, dtype="float32") for end in (low, high))
        self._keep(ops.stack(self._demanded(low, high)), dequantization, float(batches))

    def _keep(self, ends, dequantization, seen):
        self.range.assign(ends)
        low, high = ops.unstack(ends, 2)
        if self.scheme.range == "learned":
            self._start_learning(low, high)
            self.step.assign(ops.ones_like(low))
            if self.offset is not None:
                self.offset.assign(ops.zeros_like(low))
        if not self.scheme.on_device_grid:
            self.dequantization.assign(dequantization)
        self.observed.assign(seen)

    def reset(self):
        """Forgets the range."""
        if self.quantizing:
            for variable in (self.range, self.observed):
                variable.assign(np.zeros(variable.shape, "float32"))

    def get_config(self):
        return {
            **super().get_config(),
            "scheme": self.scheme.get_config() if self.scheme else None,
            "momentum": self.momentum,
            "lowest": self.lowest,
            "fixed": list(self.fixed) if self.fixed else None,
        }

    def _transform(self, x, phase):
        """Training with any scheme that is not the plain grid of a device."""
        scheme = self.scheme
        frozen = ops.equal(phase, FROZEN)
        batch = self._batch_range(x)
        # What is frozen learns no more.
        moving = [ops.stop_gradient(end) for end in self._shaped(self._inference_range(), x)]
        used, known = batch, read(self.observed) > 0.0
        if scheme.range == "moving":
            used = [ops.where(known, m, b) for m, b in zip(moving, batch, strict=True)]
        elif scheme.range == "learned":
            self._start_learning(*ops.unstack(self._flat(batch), 2), unless=known)
            learned = self._shaped(self._learned_range(x), x)
            used = [ops.where(known, m, b) for m, b in zip(learned, batch, strict=True)]
        elif scheme.estimator != "denoise" or not scheme.range_gradient:
            used = [ops.stop_gradient(end) for end in batch]
        low, high = (ops.where(frozen, m, u) for m, u in zip(moving, used, strict=True))
        if scheme.range == "learned":
            self.range.assign(self._flat((low, high)))
        if scheme.on_device_grid:
            low, high = _nudged(low, high, scheme.bits)
            given = ((high - low) / step_count(scheme), low)
        else:
            given = self._shaped(ops.unstack(read(self.dequantization), 2), x)
        on = ops.cast(phase > FLOAT, "float32")
        live = 1.0 - ops.cast(frozen, "float32")
        given = tuple(ops.stop_gradient(value) for value in given)
        y, slope, offset = transform(
            x, scheme, self._axes(x), low, high, on=on, live=live, given=given, sync=True
        )
        pairs = [] if scheme.range == "learned" else [(self.range, batch)]
        if not scheme.on_device_grid:
            pairs.append((self.dequantization, (slope, offset)))
        self._follow(pairs, phase)
        return y

    def _axes(self, x):
        return group_axes(len(x.shape), self.scheme.granularity)

    def _shaped(self, ends, x):
        """Numbers of the groups, shaped to go with `x`."""
        shape = [1] * len(x.shape)
        if self.scheme.granularity == "channel":
            shape[-1] = x.shape[-1]
        return tuple(ops.reshape(end, shape) for end in ends)

    def _batch_range(self, x):
        """(low, high) of the batch over all replicas: scalars on a device's grid, else shaped."""
        scheme = self.scheme
        if scheme.on_device_grid and scheme.range in ("minmax", "moving"):
            x = ops.stop_gradient(x)
            low = ops.min(x) if self.lowest is None else ops.convert_to_tensor(self.lowest, x.dtype)
            return self._demanded(*extremes_over_replicas(low, ops.max(x)))
        ends = range_of(x, scheme, self._axes(x), sync=True)
        if scheme.on_device_grid and scheme.range != "learned":
            return self._demanded(*(ops.reshape(ops.stop_gradient(end), ()) for end in ends))
        return ends

    def _demanded(self, low, high):
        """The range that the layers behind demand instead of this one."""
        if not (self.symmetric and self.scheme.on_device_grid):
            return low, high
        largest = ops.maximum(ops.abs(low), ops.abs(high))
        # 128 steps below zero and 127 above.
        return largest * (-128 / 127), largest

    def _inference_range(self):
        kept = ops.unstack(read(self.range), 2)
        if self.scheme.range != "learned":
            return kept
        # Once frozen, not what an optimizer's momentum makes of the learned numbers.
        ends = zip(kept, self._learned_range(), strict=True)
        return [ops.where(self.frozen(), former, learned) for former, learned in ends]

    def _learned_range(self, x=None):
        """The learned range; with the gradient of arXiv:1902.08153, section 2.2, for training."""
        steps = step_count(self.scheme)
        share = 1.0
        if x is not None:
            features = math.prod(x.shape[1:]) / math.prod(self.step.shape)
            share = (features * steps) ** -0.5
        unit = read(self.unit)
        span = rounded(unit * scale_gradient(ops.abs(read(self.step)), share))
        span = rounded(span * float(steps))
        if self.offset is None:
            return -span, span
        low = rounded(unit * (read(self.base) + scale_gradient(read(self.offset), share)))
        return self._demanded(low, low + span)

    def _follow(self, pairs, phase):
        """Moves every variable towards what its batch shows, unless frozen."""
        frozen = ops.equal(phase, FROZEN)
        seen = read(self.observed)
        rate = ops.where(frozen, 0.0, ops.maximum(1.0 - self.momentum, 1.0 / (seen + 1.0)))
        for variable, batch in pairs:
            moving = read(variable)
            variable.assign(moving + (self._flat(batch) - moving) * rate)
        self.observed.assign(seen + ops.where(frozen, 0.0, 1.0))

    def _start_learning(self, low, high, unless=False):
        """Sets where a learned range starts, unless it has started."""
        span = high if self.base is None else high - low
        unit = ops.maximum(span / step_count(self.scheme), 1e-8)
        self.unit.assign(ops.where(unless, read(self.unit), unit))
        if self.base is not None:
            self.base.assign(ops.where(unless, read(self.base), low / unit))

    def _flat(self, ends):
        """A pair of numbers of the groups as the variables hold it, without gradient."""
        shape = self.range.shape[1:]
        return ops.stop_gradient(ops.stack([ops.reshape(end, shape) for end in ends]))

    def _state(self, name, shape, trainable=False, aggregation="mean", initializer="zeros"):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=trainable,
            autocast=False,
            dtype="float32",
            aggregation="none" if trainable else aggregation,
        )


def _nudged(low, high, bits):
    """The nearest range that a device can hold, as noise on the one given."""
    scale, zero_point = affine_grid(low, high, bits)
    smallest, largest = integer_limits(bits)
    ends = (smallest - zero_point) * scale, (largest - zero_point) * scale
    return tuple(
        end + ops.stop_gradient(held - end) for end, held in zip((low, high), ends, strict=True)
    )
