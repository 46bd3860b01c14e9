"""Several tensors to one by comparing or copying integers: all of them on the output's grid.

The kernels look at raw integers. Where an input has another grid, a QUANTIZE inside of the layer
brings it to that of the output.
"""

from __future__ import annotations

import functools

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.layers.frozen import inner, rescale_before
from mobilequant.layers.merging import align_before, aligned, broadcast_shape
from mobilequant.layers.structure import Unweighted


class _OnOneGrid(Unweighted):
    """Base class: `on_grid` and `rescaled` bring the inputs to the output's grid."""

    def on_grid(self, inputs):
        """Centred integers of the inputs on the output's grid."""
        output = self.output_quantizer.grid()
        return [
            arithmetic.rescale(x, grid, output)
            for x, grid in zip(inputs, self.input_grids(), strict=True)
        ]

    def rescaled(self, inputs, output):
        """The same in the frozen graph: (operators, tensors)."""
        smallest, largest = arithmetic.RESCALE_RATIOS
        operators, tensors = [], []
        for i, source in enumerate(inputs):
            ratio = float(np.float32(source.scale) / np.float32(output.scale))
            if not smallest <= ratio < largest:
                raise ValueError(
                    f"Layer {self.name!r}: its input {source.name!r} has {ratio:.3g} times the "
                    f"scale of its output; the device takes it exactly from {smallest:.3g} up to "
                    f"{largest:g} times. That input is all but constant: look at its range, "
                    "train on, or remove it."
                )
            before, tensor = rescale_before(f"{self.name}/rescaled{i}", source, output)
            operators += before
            tensors.append(tensor)
        return operators, tensors


class _Extremum(_OnOneGrid):
    """The larger or smaller of two or more tensors, which may broadcast."""

    kind = ""

    def compute_output_shape(self, input_shape):
        return broadcast_shape(input_shape)

    def infer_float(self, *inputs, observing):
        return functools.reduce(self.float, aligned(*inputs))

    def infer_integer(self, *centred):
        return functools.reduce(self.arithmetic, aligned(*self.on_grid(centred)))

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        operators, tensors = self.rescaled(inputs, output)
        before, (so_far, *others) = align_before(self.name, tensors)
        operators += before
        for i, tensor in enumerate(others):
            last = i == len(others) - 1
            shape = broadcast_shape([(1, *so_far.shape), (1, *tensor.shape)])[1:]
            result = output if last else inner(f"{self.name}/first{i + 2}", shape, output)
            operators.append(integer.Operator(self.kind, result.name, [so_far, tensor], [result]))
            so_far = result
        return operators, output


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedMaximum(_Extremum):
    """A quantized `keras.layers.Maximum`: MAXIMUM on the device."""

    kind = "MAXIMUM"
    float = staticmethod(ops.maximum)
    arithmetic = staticmethod(arithmetic.maximum)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedMinimum(_Extremum):
    """A quantized `keras.layers.Minimum`: MINIMUM on the device."""

    kind = "MINIMUM"
    float = staticmethod(ops.minimum)
    arithmetic = staticmethod(arithmetic.minimum)


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedConcatenate(_OnOneGrid):
    """A quantized `keras.layers.Concatenate`: CONCATENATION on the device.

    Args:
        axis: Any dimension but the batch, from 1 on.
        activations: `Scheme` of the output.
    """

    def __init__(self, axis, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}

    def compute_output_shape(self, input_shape):
        sizes = [shape[self.axis] for shape in input_shape]
        shape = list(input_shape[0])
        shape[self.axis] = None if None in sizes else sum(sizes)
        return tuple(shape)

    def infer_float(self, *inputs, observing):
        return ops.concatenate(inputs, axis=self.axis)

    def infer_integer(self, *centred):
        return ops.concatenate(self.on_grid(centred), axis=self.axis)

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        operators, tensors = self.rescaled(inputs, output)
        operators.append(
            integer.Operator(
                "CONCATENATION", self.name, tensors, [output], options={"axis": self.axis}
            )
        )
        return operators, output
