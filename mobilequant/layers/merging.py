"""Two tensors to one: sums, products, and the matrix products of attention.

Tensors broadcast as in Keras' merging layers: behind the batch, a tensor of fewer dimensions gets
new ones of size 1.
"""

from __future__ import annotations

import keras
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.layers.folded import FUSED_ACTIVATIONS
from mobilequant.layers.frozen import reshape_before
from mobilequant.layers.structure import Unweighted

#: Activations that ADD and MUL fuse.
MERGE_ACTIVATIONS = ("linear", "relu", "relu6")


def aligned(*tensors):
    """The tensors, all of as many dimensions as the one that has most."""
    rank = max(len(tensor.shape) for tensor in tensors)
    missing = [tuple(range(1, 1 + rank - len(tensor.shape))) for tensor in tensors]
    return [
        ops.expand_dims(x, axes) if axes else x for x, axes in zip(tensors, missing, strict=True)
    ]


def broadcast_shape(shapes) -> tuple:
    """The shape that tensors of these shapes, batch first, broadcast to."""
    rank = max(len(shape) for shape in shapes)
    shapes = [(shape[0], *(1,) * (rank - len(shape)), *shape[1:]) for shape in shapes]
    return tuple(
        None if None in sizes and set(sizes) <= {None, 1} else max(n for n in sizes if n)
        for sizes in zip(*shapes, strict=True)
    )


def align_before(name, inputs):
    """As `aligned`, in the frozen graph: (operators, tensors)."""
    rank = max(len(tensor.shape) for tensor in inputs)
    operators, tensors = [], []
    for i, tensor in enumerate(inputs):
        shape = (*(1,) * (rank - len(tensor.shape)), *tensor.shape)
        before, tensor = reshape_before(f"{name}/operand{i}", tensor, shape)
        operators += before
        tensors.append(tensor)
    return operators, tensors


class _Merge(Unweighted):
    """Two tensors, broadcast, and a fused activation.

    Args:
        activation: One of `MERGE_ACTIVATIONS`.
        activations: `Scheme` of the output.
    """

    kind = ""

    def __init__(self, activation="linear", **kwargs):
        super().__init__(**kwargs)
        if activation not in MERGE_ACTIVATIONS:
            raise ValueError(
                f"Layer {self.name!r}: activation {activation!r} cannot be fused; one of "
                f"{', '.join(MERGE_ACTIVATIONS)} can."
            )
        self.activation = activation
        self.lowest = FUSED_ACTIVATIONS[activation].lowest

    def get_config(self):
        return {**super().get_config(), "activation": self.activation}

    def compute_output_shape(self, input_shape):
        return broadcast_shape(input_shape)

    def combine(self, a, b):
        """The two real tensors, before the activation."""
        raise NotImplementedError

    def check(self, inputs, output):
        """Refuses grids whose arithmetic on the device is another."""

    def infer_float(self, a, b, observing):
        return FUSED_ACTIVATIONS[self.activation].function(self.combine(*aligned(a, b)))

    def infer_integer(self, a, b):
        a, b = aligned(a, b)
        output = self.output_quantizer.grid()
        activation = FUSED_ACTIVATIONS[self.activation].kind
        return self.arithmetic(a, b, *self.input_grids(), output, activation)

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        self.check(inputs, output)
        activation = FUSED_ACTIVATIONS[self.activation].kind
        before, inputs = align_before(self.name, inputs)
        operator = integer.Operator(self.kind, self.name, inputs, [output], activation=activation)
        return [*before, operator], output


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedAdd(_Merge):
    """A quantized `keras.layers.Add` of two tensors, which may broadcast: ADD on the device."""

    kind = "ADD"
    arithmetic = staticmethod(arithmetic.add)

    def combine(self, a, b):
        return a + b

    def check(self, inputs, output):
        ratios = [float(source.scale / output.scale) for source in inputs]
        if not arithmetic.adds_exactly(*ratios):
            raise ValueError(
                f"Layer {self.name!r}: its inputs {', '.join(repr(x.name) for x in inputs)} have "
                f"{' and '.join(f'{ratio:.3g}' for ratio in ratios)} times the scale of its "
                "output, which the device does not add exactly. Its output holds next to nothing "
                "of its inputs' range: calibrate with images that reach this layer."
            )


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedSubtract(QuantizedAdd):
    """A quantized `keras.layers.Subtract`, the first minus the second: SUB on the device."""

    kind = "SUB"
    arithmetic = staticmethod(arithmetic.subtract)

    def combine(self, a, b):
        return a - b


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedMultiply(_Merge):
    """A quantized `keras.layers.Multiply` of two tensors: MUL on the device."""

    kind = "MUL"
    arithmetic = staticmethod(arithmetic.multiply)

    def combine(self, a, b):
        return a * b

    def check(self, inputs, output):
        _, largest = arithmetic.MUL_RATIOS
        ratio = float(inputs[0].scale * inputs[1].scale / output.scale)
        if not ratio < largest:
            raise ValueError(
                f"Layer {self.name!r}: the scales of its inputs multiply to {ratio:.3g} times that "
                f"of its output; the device multiplies exactly below {largest:g} times. The range "
                "of its output is next to nothing: calibrate with images that reach this layer."
            )


@keras.saving.register_keras_serializable(package="mobilequant")
class QuantizedDot(Unweighted):
    """Products of two batches of matrices, as attention has them: BATCH_MATMUL on the device.

    The second operand gets a range symmetric about 0, which is what XNNPACK multiplies.

    Args:
        transposed: Whether the second operand is (n, b, c), not (n, c, b); the first is (n, a, c).
        activations: `Scheme` of the output.
    """

    def __init__(self, transposed=False, **kwargs):
        super().__init__(**kwargs)
        self.transposed = transposed

    def get_config(self):
        return {**super().get_config(), "transposed": self.transposed}

    def compute_output_shape(self, input_shape):
        a, b = input_shape
        return (*a[:-1], b[-2 if self.transposed else -1])

    def link(self, sources):
        super().link(sources)
        if sources[1] is not None:
            sources[1].output_quantizer.make_symmetric()

    def infer_float(self, a, b, observing):
        if self.transposed:
            b = ops.swapaxes(b, -1, -2)
        return ops.matmul(a, b)

    def infer_integer(self, a, b):
        first, second = self.input_grids()
        output = self.output_quantizer.grid()
        return arithmetic.batch_matmul(a, b, first, second, output, adj_y=self.transposed)

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        options = {"adj_x": False, "adj_y": self.transposed}
        return [
            integer.Operator("BATCH_MATMUL", self.name, inputs, [output], options=options)
        ], output
