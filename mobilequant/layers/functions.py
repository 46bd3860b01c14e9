"""Functions of one tensor: what a device computes by a table, or by a few cheap operators."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import SMALLEST, Grid, constant_grid
from mobilequant.layers.structure import Unweighted

#: What hard-swish wants its input multiplied by, see `QuantizedHardSwish`.
HARD_SWISH_FACTOR = 1 / math.sqrt(6)

#: Grid of the gate c·hard_sigmoid: [0, c] with c = √6.
_GATE = (np.float32(math.sqrt(6) / 255), -128)

#: In Keras, by the device's operator, with the operator's options as arguments.
_FUNCTIONS = {
    "ABS": ops.abs,
    "ELU": ops.elu,
    "EXP": ops.exp,
    "GELU": lambda x, approximate=False: ops.gelu(x, approximate=approximate),
    "LEAKY_RELU": lambda x, alpha: ops.leaky_relu(x, negative_slope=alpha),
    "LOG": ops.log,
    "LOGISTIC": ops.sigmoid,
    "RSQRT": ops.rsqrt,
    "SQRT": ops.sqrt,
    "TANH": ops.tanh,
}


@keras.saving.register_keras_serializable(package="mobilequant")
def gelu_by_tanh(x):
    """GELU by the formula with a hyperbolic tangent: what `keras.ops.gelu` gives by default."""
    return ops.gelu(x, approximate=True)


#: Smallest values, where there are any.
_LOWEST = {"ABS": 0.0, "ELU": -1.0, "EXP": 0.0, "RSQRT": 0.0, "SQRT": 0.0}


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedHardSwish(Unweighted):
    """x·min(max(x + 3, 0), 6) / 6 as one ADD and one MUL.

    HARD_SWISH itself runs outside XNNPACK, some thirty times slower. With u = x / √6 it is
    u·min(max(u + √6/2, 0), √6): an addition whose output range does the clipping, and a product.
    The operator before it gives u instead of x at no cost (`FoldedLayer`'s `factor`).

    Args:
        prescaled: Whether the input is u; if not, a MUL by a constant comes first.
        activations: `Scheme` of the output.
    """

    def __init__(self, prescaled, **kwargs):
        super().__init__(**kwargs)
        self.prescaled = prescaled

    def get_config(self):
        return {**super().get_config(), "prescaled": self.prescaled}

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        if not self.prescaled:
            return ops.hard_silu(x)
        limit = math.sqrt(6)
        return x * ops.clip(x + limit / 2, 0.0, limit)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        source = self._scaled(source)
        gate, half = constant_grid(*_GATE), integer.Constant.of(math.sqrt(6) / 2)
        opened = arithmetic.add(x, half.centred, source, constant_grid(half.scale), gate)
        return arithmetic.multiply(x, opened, source, gate, self.output_quantizer.grid())

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        operators = []
        if not self.prescaled:
            # The integers stay, the scale changes.
            scaled = integer.Tensor(
                f"{self.name}/scaled",
                x.shape,
                np.float32(ops.convert_to_numpy(self._scaled(self.input_grids()[0]).scale)),
                x.zero_point,
                internal=True,
            )
            operators.append(
                integer.Operator(
                    "MUL",
                    scaled.name,
                    [x],
                    [scaled],
                    constants={1: integer.Constant.of(HARD_SWISH_FACTOR)},
                )
            )
            x = scaled
        self._check_ratio(x)
        gate = integer.Tensor(f"{self.name}/gate", x.shape, *_GATE, internal=True)
        output = self.describe_output(output_shape)
        half = {1: integer.Constant.of(math.sqrt(6) / 2)}
        return [
            *operators,
            integer.Operator("ADD", gate.name, [x], [gate], constants=half),
            integer.Operator("MUL", self.name, [x, gate], [output]),
        ], output

    def _scaled(self, source):
        if self.prescaled:
            return source
        return Grid(source.scale * np.float32(HARD_SWISH_FACTOR), source.zero_point)

    def _check_ratio(self, x):
        _, largest = arithmetic.ADD_RATIOS
        if not x.scale / _GATE[0] < largest:
            raise ValueError(
                f"Layer {self.name!r}: hard-swish of an input with scale {x.scale:.3g}, which is "
                "outside what the device computes exactly: its range is far beyond what it acts "
                "on. Look at the range of the layer before it, and train on."
            )


@keras.saving.register_keras_serializable(package="mobilequant")
class ElementwiseFunction(keras.layers.Layer):
    """A float function that Keras has no layer for.

    Args:
        kind: The device's operator, "ABS", "EXP", "LOG", "RSQRT" or "SQRT".
    """

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.built = True

    def call(self, inputs):
        return _FUNCTIONS[self.kind](inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedFunction(Unweighted):
    """A function of one tensor that the device has as an operator: a table of 256 entries.

    Args:
        kind: The operator: "ABS", "ELU", "EXP", "GELU", "LEAKY_RELU", "LOG", "LOGISTIC", "RSQRT",
            "SQRT" or "TANH".
        options: Options of the operator: GELU: approximate; LEAKY_RELU: alpha.
        highest: Where the output is clipped to at most that, by the range of its grid.
        activations: `Scheme` of the output; LOGISTIC and TANH have a grid that the format fixes.
    """

    def __init__(self, kind, options=None, highest=None, **kwargs):
        super().__init__(**kwargs)
        if kind not in _FUNCTIONS:
            raise ValueError(
                f"Layer {self.name!r}: unknown kind {kind!r}; one of {sorted(_FUNCTIONS)}."
            )
        self.kind = kind
        self.options = dict(options or {})
        self.highest = highest
        self.lowest = _LOWEST.get(kind)
        self.fixed = arithmetic.FIXED_GRIDS.get(kind)

    def get_config(self):
        return {
            **super().get_config(),
            "kind": self.kind,
            "options": self.options,
            "highest": self.highest,
        }

    def compute_output_shape(self, input_shape):
        return input_shape

    def infer_float(self, x, observing):
        y = _FUNCTIONS[self.kind](x, **self.options)
        return y if self.highest is None else ops.minimum(y, self.highest)

    def infer_integer(self, x):
        (source,) = self.input_grids()
        output = self.output_quantizer.grid()
        table = arithmetic.function_table(self.kind, source, output, **self.options)
        return arithmetic.lookup(x, source, table)

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        if self.kind in arithmetic.OF_NO_NEGATIVES and inputs[0].zero_point != SMALLEST:
            raise ValueError(
                f"Layer {self.name!r}: {self.kind} of {inputs[0].name!r}, whose range has negative "
                "values, where the device ends with an error; put keras.ops.relu before it."
            )
        options = dict(self.options)
        return [integer.Operator(self.kind, self.name, inputs, [output], options=options)], output
