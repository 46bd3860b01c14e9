"""A tensor and a constant: sums, differences and products with numbers that do not train."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.layers.folded import FUSED_ACTIVATIONS
from mobilequant.layers.structure import Unweighted

#: What is computed in float, from the tensor and the constant.
_FLOAT = {
    "add": lambda x, value: x + value,
    "multiply": lambda x, value: x * value,
    "subtract_from": lambda x, value: value - x,
}


@keras.saving.register_keras_serializable(package="mobilequant")
class ConstantOperand(keras.layers.Layer):
    """A tensor x and a constant c: x + c, x · c or c − x.

    Args:
        operation: "add", "multiply" or "subtract_from" (c − x).
        value: c, a number or an array that broadcasts against one example.

    Input and output have the same shape.
    """

    def __init__(self, operation, value, **kwargs):
        super().__init__(**kwargs)
        self.operation = _known(operation, self.name)
        self.value = np.asarray(value, "float32")
        self.built = True

    def call(self, inputs):
        return _FLOAT[self.operation](inputs, self.value)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "operation": self.operation,
            "value": self.value.tolist(),
        }


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedConstantOperand(Unweighted):
    """A quantized `ConstantOperand`: ADD, MUL or SUB with a constant on the device.

    The constant has a symmetric scale of its own: a single number is exact, of an array the
    largest is.

    Args:
        operation, value: As in `ConstantOperand`.
        activation: "linear", "relu" or "relu6".
        activations: `Scheme` of the output.
    """

    def __init__(self, operation, value, activation="linear", **kwargs):
        super().__init__(**kwargs)
        self.operation = _known(operation, self.name)
        self.value = np.asarray(value, "float32")
        self.activation = activation
        self.constant = integer.Constant.of(self.value)
        self.lowest = FUSED_ACTIVATIONS[activation].lowest

    def get_config(self):
        return {
            **super().get_config(),
            "operation": self.operation,
            "value": self.value.tolist(),
            "activation": self.activation,
        }

    def compute_output_shape(self, input_shape):
        return input_shape

    def train(self, x):
        return self.output_quantizer(self._float(x, self.constant.centred * self.constant.scale))

    def infer_float(self, x, observing):
        return self._float(x, self.value)

    def _float(self, x, value):
        return FUSED_ACTIVATIONS[self.activation].function(_FLOAT[self.operation](x, value))

    def infer_integer(self, x):
        (source,) = self.input_grids()
        grid = arithmetic.constant_grid(self.constant.scale)
        rest = self.output_quantizer.grid(), FUSED_ACTIVATIONS[self.activation].kind
        constant = ops.convert_to_tensor(self.constant.centred)
        if self.operation == "subtract_from":
            return arithmetic.subtract(constant, x, grid, source, *rest)
        compute = arithmetic.add if self.operation == "add" else arithmetic.multiply
        return compute(x, constant, source, grid, *rest)

    def freeze(self, inputs, output_shape):
        (x,) = inputs
        output = self.describe_output(output_shape)
        self._check(x, output)
        operator = integer.Operator(
            {"add": "ADD", "multiply": "MUL", "subtract_from": "SUB"}[self.operation],
            self.name,
            inputs,
            [output],
            activation=FUSED_ACTIVATIONS[self.activation].kind,
            constants={0 if self.operation == "subtract_from" else 1: self.constant},
        )
        return [operator], output

    def _check(self, x, output):
        """Refuses grids whose arithmetic on the device is another."""
        if self.operation == "multiply":
            ratio = float(x.scale * self.constant.scale / output.scale)
            exact = ratio < arithmetic.MUL_RATIOS[1]
        else:
            scales = x.scale, self.constant.scale
            exact = arithmetic.adds_exactly(*(float(scale / output.scale) for scale in scales))
        if not exact:
            raise ValueError(
                f"Layer {self.name!r}: its input {x.name!r} reaches {127 * x.scale:.3g} and "
                f"its constant {np.abs(self.value).max():.3g}, but its output's range is next "
                "to nothing beside them. Calibrate with images that reach it."
            )


def _known(operation, name):
    if operation not in _FLOAT:
        raise ValueError(
            f"Layer {name!r}: unknown operation {operation!r}; one of {sorted(_FLOAT)}."
        )
    return operation
