"""Normalization of each example's own channels: means, roots and products in integers."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import LARGEST_CENTRED, SMALLEST, Grid, constant_grid
from mobilequant.layers.activation_quantizer import observation_method
from mobilequant.layers.base import build_quantizer
from mobilequant.layers.frozen import copy, inner, on_grid, reshape_after, reshape_before
from mobilequant.layers.structure import Unweighted
from mobilequant.quantizers import Scheme
from mobilequant.quantizers.exact import rounded

#: Of the tensors inside: their ranges are those that training or calibration sees.
_INSIDE = Scheme(bits=8, grid="affine", granularity="tensor", estimator="ste", range_gradient=False)

#: Steps of the deviations that a step of the means is worth at least: finer is nothing to them,
#: and what is spared is room for means that were not seen.
_FINEST_MEAN = 1 / 4

#: Range of the powers and roots in terms of what was seen: beyond it a row would not be clipped
#: where it is largest, but scaled wrong as a whole.
_HEADROOM = np.float32(9 / 8)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedStandardization(Unweighted):
    """(x − mean) / √(variance + ε) over the last dimension: layer normalization without γ and β.

    On the device, with the deviations d = x − mean and n channels:

        MEAN, SUB                d
        BATCH_MATMUL, ADD        Σd² + nε, products of each row with itself
        RSQRT, MUL               √n / √(Σd² + nε)
        MUL                      d times that

    The sum of squares is one BATCH_MATMUL because its 32-bit accumulator rounds once: of rounded
    squares (MUL, MEAN) nothing is left where the variance is small.

    Measured against the float formula on the same quantized input, 512 normal or Laplace rows of
    32, 192 and 768 channels, in output steps: a root mean square error of 0.4 to 0.65 where all
    variances are equal, 0.65 to 1.4 where the largest is 30 times the smallest, 1.1 to 1.9 at 100
    times, most of it the rounding of d in the rows of small variance. With one channel in 48 ten
    times as large: 0.4 to 1.0, 0.8 to 2.7 and 1.1 to 4.1, the worst at 32 channels.

    In training the inner ranges follow the batches; the result is Keras' own formula, and only
    the output is quantized.

    Args:
        epsilon: ε, added to the variance.
        center: Whether the mean is subtracted; if not, this is RMS normalization (Zhang and
            Sennrich 2019, arXiv:1910.07467), and the input gets a range symmetric about 0.
        activations: `Scheme` of the output.

    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450, equations 3 and 4.
    """

    def __init__(self, epsilon=1e-3, center=True, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = float(epsilon)
        self.center = center

    def build(self, input_shape):
        super().build(input_shape)
        if self.center:
            self.mean_quantizer = build_quantizer(self, "mean_quantizer", _INSIDE)
            self.deviation_quantizer = build_quantizer(self, "deviation_quantizer", _INSIDE)
            self.deviation_quantizer.make_symmetric()
        self.power_quantizer = build_quantizer(self, "power_quantizer", _INSIDE, lowest=0.0)
        self.root_quantizer = build_quantizer(self, "root_quantizer", _INSIDE, lowest=0.0)
        self.channels = int(input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon, "center": self.center}

    def compute_output_shape(self, input_shape):
        return input_shape

    @property
    def quantizers(self):
        return [*self._inside, self.output_quantizer]

    def link(self, sources):
        super().link(sources)
        if not self.center and sources[0] is not None:
            sources[0].output_quantizer.make_symmetric()

    def train(self, x):
        *parts, y = self._parts(x)
        for quantizer, part in zip(self._inside, parts, strict=True):
            quantizer(ops.stop_gradient(part))
        return self.output_quantizer(y)

    def infer_float(self, x, observing):
        *parts, y = self._parts(x)
        if observing:
            # Not what other methods clip: a root that is clipped is wrong for a whole row.
            method = observation_method()
            method = method if isinstance(method, str) else "minmax"
            for quantizer, part in zip(self._inside, parts, strict=True):
                quantizer.observe(part, method)
        return y

    def infer_integer(self, x):
        (source,) = self.input_grids()
        grids = self._grids(source)
        deviation = x
        if self.center:
            mean = arithmetic.mean(x, source, grids["mean"], (len(x.shape) - 1,), keepdims=True)
            deviation = arithmetic.subtract(x, mean, source, grids["mean"], grids["deviation"])
        rows = ops.expand_dims(deviation, -2)
        power = arithmetic.batch_matmul(
            rows, rows, grids["deviation"], grids["deviation"], grids["power"], adj_y=True
        )
        power = ops.minimum(ops.squeeze(power, -1) + self._epsilon(grids), LARGEST_CENTRED)
        table = arithmetic.function_table("RSQRT", grids["power"], grids["root"])
        root = arithmetic.lookup(power, grids["power"], table)
        output = self.output_quantizer.grid()
        return arithmetic.multiply(deviation, root, grids["deviation"], grids["factor"], output)

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        grids = self._grids(self.input_grids()[0])
        one_a_row = (*x.shape[:-1], 1)

        def tensor(what, shape=one_a_row):
            return on_grid(f"{self.name}/{what}", shape, grids[what])

        operators, deviation = [], x
        if self.center:
            mean, deviation = tensor("mean"), tensor("deviation", x.shape)
            options = {"axes": (len(x.shape),), "keepdims": True}
            operators += [
                integer.Operator("MEAN", mean.name, [x], [mean], options=options),
                integer.Operator("SUB", deviation.name, [x, mean], [deviation]),
            ]
        power, root, factor = tensor("power"), tensor("root"), tensor("factor")
        more, power = self._freeze_power(deviation, power, self._epsilon(grids))
        constants = {1: integer.Constant.of(self._root_of_channels)}
        operators += [
            *more,
            copy("RSQRT", root.name, power, root),
            # The integers stay, the scale changes.
            integer.Operator("MUL", factor.name, [root], [factor], constants=constants),
            integer.Operator("MUL", self.name, [deviation, factor], [output]),
        ]
        return operators, output

    def _freeze_power(self, deviation, power, epsilon):
        """Σd² + nε: (operators, tensor)."""
        *lengths, channels = deviation.shape
        rows = math.prod(lengths)
        shape = (rows, 1, channels) if lengths else (1, channels)
        before, matrices = reshape_before(f"{self.name}/rows", deviation, shape)
        squares, after = reshape_after(f"{self.name}/squares", (*shape[:-1], 1), power)
        options = {"adj_x": False, "adj_y": True}
        operators = [
            *before,
            integer.Operator(
                "BATCH_MATMUL", squares.name, [matrices, matrices], [squares], options=options
            ),
            *after,
        ]
        epsilon = int(ops.convert_to_numpy(epsilon))
        if not epsilon:
            return operators, power
        total = inner(f"{self.name}/power_and_epsilon", power.shape, power)
        constant = integer.Constant(
            np.array(SMALLEST + epsilon, np.int8), power.scale, power.zero_point
        )
        operators.append(
            integer.Operator("ADD", total.name, [power], [total], constants={1: constant})
        )
        return operators, total

    @property
    def _inside(self):
        """Quantizers of what `_parts` gives before the result."""
        centring = [self.mean_quantizer, self.deviation_quantizer] if self.center else []
        return [*centring, self.power_quantizer, self.root_quantizer]

    def _parts(self, x):
        """The tensors inside, as real values, and the result."""
        deviation, parts = x, []
        if self.center:
            mean = ops.mean(x, axis=-1, keepdims=True)
            deviation = x - mean
            parts = [mean, deviation]
        variance = ops.mean(ops.square(deviation), axis=-1, keepdims=True) + self.epsilon
        root = ops.rsqrt(variance)
        parts += [variance * float(self.channels), root / self._root_of_channels]
        return [*parts, deviation * root]

    @property
    def _root_of_channels(self):
        return math.sqrt(self.channels)

    def _grids(self, source) -> dict[str, Grid]:
        """Grids of the tensors inside, by their names."""
        grids = {"deviation": source}
        if self.center:
            grids["deviation"] = self.deviation_quantizer.grid()
            finest = grids["deviation"].scale * _FINEST_MEAN
            grids["mean"] = _no_finer(self.mean_quantizer.grid(), finest)
        grids["power"] = constant_grid(self.power_quantizer.grid().scale * _HEADROOM, SMALLEST)
        # No root is larger than that of one step: rows all but constant must not coarsen it.
        largest = 1.0 / ops.sqrt(grids["power"].scale)
        scale = ops.minimum(
            self.root_quantizer.grid().scale * _HEADROOM, largest * np.float32(1 / LARGEST_CENTRED)
        )
        grids["root"] = constant_grid(scale, SMALLEST)
        grids["factor"] = constant_grid(scale * np.float32(self._root_of_channels), SMALLEST)
        return grids

    def _epsilon(self, grids):
        """nε in steps of Σd²."""
        steps = np.float32(self.epsilon * self.channels) / grids["power"].scale
        return ops.round(ops.minimum(steps, LARGEST_CENTRED))


def _no_finer(grid, scale):
    """A grid, or one of a larger scale whose range has the same middle."""
    coarser = ops.maximum(grid.scale, scale)
    middle = rounded((grid.zero_point + 0.5) * (grid.scale / coarser))
    return Grid(coarser, ops.round(middle - 0.5))
