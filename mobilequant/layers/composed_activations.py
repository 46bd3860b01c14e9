"""Activations that no operator of the device computes: each composed of several, exact inside.

What goes on inside lies on grids that follow from the input's, on which nothing, or next to
nothing, is rounded: the error is that of the output's own rounding and of one table.
"""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import LARGEST, LARGEST_CENTRED, SMALLEST, Grid, constant_grid
from mobilequant.layers.frozen import copy, on_grid
from mobilequant.layers.structure import Unweighted
from mobilequant.quantizers.exact import rounded

_LOGISTIC = arithmetic.FIXED_GRIDS["LOGISTIC"]

#: Of the logarithms of LOGISTIC(|x|): from ln ½ to 0.
_LOGARITHM = (math.log(2) / 255, LARGEST)

#: Of e^x − 1 below 0: from −1 to 0.
_BEND = (1 / 255, LARGEST)

#: Of a gate that is open or closed.
_GATE = (1 / 255, SMALLEST)

#: Steps of the gate that a step of the input is worth: so many that nothing lies between the ends,
#: at which it is clipped, and so few that ADD takes it (below 256, also for the constant).
_STEEPNESS = 254.9

#: Where the threshold lies among the gate's integers: a little below the middle, so that the
#: constant that puts it there is never next to nothing.
_MIDDLE = 127.15


class _Composed(Unweighted):
    """Base class: input and output have one shape."""

    def compute_output_shape(self, input_shape):
        return input_shape

    def sum_of(self, kind, operands, output):
        """ADD or SUB of two frozen tensors to the output; refuses what the device does not add."""
        _, high = arithmetic.ADD_RATIOS
        for tensor in operands:
            ratio = float(tensor.scale / output.scale)
            if not ratio < high:
                raise ValueError(
                    f"Layer {self.name!r}: {tensor.name!r} has {ratio:.3g} times the scale of the "
                    f"output; the device adds exactly below {high:g} times. Its input is all but "
                    "constant: look at its range, and train on."
                )
        return integer.Operator(kind, self.name, operands, [output])


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedSoftplus(_Composed):
    """log(1 + eˣ) as max(x, 0) − log(sigmoid(|x|)): QUANTIZE, ABS, LOGISTIC, LOG, SUB.

    The logarithm is off by 0.004 at most, by the rounding of the sigmoid.

    Args:
        activations: `Scheme` of the output.
    """

    lowest = 0.0

    def infer_float(self, x, observing):
        return ops.softplus(x)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        exact, share, logarithm = _positive(source), *_grids(_LOGISTIC, _LOGARITHM)
        y = _apply("ABS", x, source, exact)
        y = _apply("LOGISTIC", y, exact, share)
        y = _apply("LOG", y, share, logarithm)
        positive = arithmetic.rescale(x, source, exact)
        return arithmetic.subtract(positive, y, exact, logarithm, self.output_quantizer.grid())

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        exact = _positive(self.input_grids()[0])
        grids = {"magnitude": exact, "positive": exact}
        grids |= dict(zip(("share", "logarithm"), _grids(_LOGISTIC, _LOGARITHM), strict=True))
        inside = {key: on_grid(f"{self.name}/{key}", x.shape, grid) for key, grid in grids.items()}
        chain = [x, inside["magnitude"], inside["share"], inside["logarithm"]]
        return [
            *(
                copy(kind, tensor.name, source, tensor)
                for kind, source, tensor in zip(
                    ("ABS", "LOGISTIC", "LOG"), chain[:-1], chain[1:], strict=True
                )
            ),
            copy("QUANTIZE", inside["positive"].name, x, inside["positive"]),
            self.sum_of("SUB", [inside["positive"], inside["logarithm"]], output),
        ], output


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedScaledELU(_Composed):
    """x above 0, α·(eˣ − 1) below: ELU clipped to what is below 0, MUL, QUANTIZE, ADD.

    Args:
        alpha: α, above 0; of 1 it is the device's own ELU.
        activations: `Scheme` of the output.
    """

    def __init__(self, alpha, **kwargs):
        super().__init__(**kwargs)
        self.alpha = float(alpha)
        self.lowest = -self.alpha

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}

    def infer_float(self, x, observing):
        return ops.elu(x, alpha=self.alpha)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        exact, (bend, scaled) = _positive(source), _grids(_BEND, self._scaled)
        # The product with α has the integers of the bend, see `freeze`.
        below = _apply("ELU", x, source, bend)
        positive = arithmetic.rescale(x, source, exact)
        return arithmetic.add(positive, below, exact, scaled, self.output_quantizer.grid())

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        grids = (_positive(self.input_grids()[0]), *_grids(_BEND, self._scaled))
        names = ("positive", "bend", "scaled")
        positive, bend, scaled = (
            on_grid(f"{self.name}/{name}", x.shape, grid)
            for name, grid in zip(names, grids, strict=True)
        )
        alpha = {1: integer.Constant.of(self.alpha)}
        return [
            copy("ELU", bend.name, x, bend),
            integer.Operator("MUL", scaled.name, [bend], [scaled], constants=alpha),
            copy("QUANTIZE", positive.name, x, positive),
            self.sum_of("ADD", [positive, scaled], output),
        ], output

    @property
    def _scaled(self):
        return (self.alpha / 255, LARGEST)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedThresholdedReLU(_Composed):
    """x above a threshold t, slope·(x − t) up to it: x times a gate of 0 or 1.

    On the device an ADD so steep that it clips to one end or the other, a MUL by a constant that
    makes the ends 0 and 1, and the MUL with x; with a slope, three operators for what is below.

    Args:
        threshold: t.
        negative_slope: The slope.
        highest: Largest value, or None. Then values below 0 that pass the gate become 0, as in
            Keras.
        activations: `Scheme` of the output.
    """

    def __init__(self, threshold, negative_slope=0.0, highest=None, **kwargs):
        super().__init__(**kwargs)
        self.threshold = float(threshold)
        self.negative_slope = float(negative_slope)
        self.highest = None if highest is None else float(highest)
        cut = self.threshold >= 0 or self.highest is not None
        self.lowest = 0.0 if cut and self.negative_slope <= 0 else None

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "negative_slope": self.negative_slope,
            "highest": self.highest,
        }

    def infer_float(self, x, observing):
        return keras.activations.relu(x, self.negative_slope, self.highest, self.threshold)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        output = self.output_quantizer.grid()
        steep, gate = self._steep(source), constant_grid(*_GATE)
        constant, grid = self._offset(source)
        # The gate has the integers of the steep function, see `freeze`.
        opened = arithmetic.add(x, constant, source, grid, steep)
        if not self.negative_slope:
            return arithmetic.multiply(x, opened, source, gate, output)
        passed = arithmetic.multiply(x, opened, source, gate, self._passed(source))
        below_grid, sloped = self._below(source), self._sloped(source)
        threshold = integer.Constant.of(self.threshold)
        below = arithmetic.subtract(
            ops.convert_to_tensor(threshold.centred),
            x,
            constant_grid(threshold.scale),
            source,
            below_grid,
        )
        combine = arithmetic.subtract if self.negative_slope > 0 else arithmetic.add
        return combine(passed, below, self._passed(source), sloped, output)

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        (source,) = self.input_grids()

        def tensor(name, grid):
            return on_grid(f"{self.name}/{name}", x.shape, grid)

        steep, gate = tensor("steep", self._steep(source)), tensor("gate", constant_grid(*_GATE))
        to_gate = integer.Constant.of(float(np.float32(_GATE[0]) / steep.scale))
        operators = [
            integer.Operator("ADD", steep.name, [x], [steep], constants={1: self._freeze_offset()}),
            integer.Operator("MUL", gate.name, [steep], [gate], constants={1: to_gate}),
        ]
        if not self.negative_slope:
            return [*operators, integer.Operator("MUL", self.name, [x, gate], [output])], output
        passed = tensor("passed", self._passed(source))
        below = tensor("below", self._below(source))
        sloped = tensor("sloped", self._sloped(source))
        threshold = {0: integer.Constant.of(self.threshold)}
        slope = {1: integer.Constant.of(abs(self.negative_slope))}
        kind = "SUB" if self.negative_slope > 0 else "ADD"
        return [
            *operators,
            integer.Operator("MUL", passed.name, [x, gate], [passed]),
            integer.Operator("SUB", below.name, [x], [below], constants=threshold),
            integer.Operator("MUL", sloped.name, [below], [sloped], constants=slope),
            self.sum_of(kind, [passed, sloped], output),
        ], output

    def _steep(self, source):
        return constant_grid(source.scale * np.float32(1 / _STEEPNESS), SMALLEST)

    def _passed(self, source):
        if self.highest is None:
            return source
        # The clip to the highest value is that of the grid.
        largest = np.float32(self.highest / LARGEST_CENTRED)
        return constant_grid(ops.minimum(source.scale, largest), SMALLEST)

    def _below(self, source):
        """Of how far below the threshold the input is."""
        lowest = rounded((SMALLEST - source.zero_point) * source.scale)
        reach = (np.float32(self.threshold) - lowest) * np.float32(1 / LARGEST_CENTRED)
        return constant_grid(ops.maximum(source.scale, reach), SMALLEST)

    def _sloped(self, source):
        scale = self._below(source).scale * np.float32(abs(self.negative_slope))
        return constant_grid(scale, SMALLEST)

    def _offset(self, source):
        """What is added to x, so that the first integer above the threshold opens the gate."""
        first = ops.floor(np.float32(self.threshold) / source.scale) + 1.0
        # Beyond the integers that there are, all alike are closed or open.
        first = ops.clip(first, -LARGEST_CENTRED, 1 + LARGEST_CENTRED)
        steps = (0.5 + _MIDDLE / _STEEPNESS) - first
        scale = ops.abs(steps) * source.scale * np.float32(1 / LARGEST_CENTRED)
        return ops.sign(steps) * float(LARGEST_CENTRED), Grid(scale, ops.zeros(()))

    def _freeze_offset(self):
        constant, grid = self._offset(self.input_grids()[0])
        value, zero_point = (LARGEST, SMALLEST) if float(constant) > 0 else (SMALLEST, LARGEST)
        scale = np.float32(ops.convert_to_numpy(grid.scale))
        return integer.Constant(np.array(value, np.int8), scale, zero_point)


def _positive(source):
    """A grid on which the positive integers of another are what they were there."""
    return constant_grid(source.scale, SMALLEST)


def _grids(*numbers):
    return [constant_grid(np.float32(scale), zero_point) for scale, zero_point in numbers]


def _apply(kind, x, source, output):
    return arithmetic.lookup(x, source, arithmetic.function_table(kind, source, output))
