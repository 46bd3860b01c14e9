"""Float layers that select values, as `keras.ops` in the graph do: parts of a tensor, extremes.

Keras has no layers for them. They keep the grid, so that they stay in a quantized model as they
are, see `moving`; `ArgMax` gives indices, which are not rounded at all.
"""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mobilequant")
class Slice(keras.layers.Layer):
    """x[:, begin:end:stride, …]: a part of a tensor.

    Args:
        begin: First index along each dimension behind the batch.
        end: Where each ends; None for its end.
        strides: Steps along each, from 1 on.
    """

    def __init__(self, begin, end, strides, **kwargs):
        super().__init__(**kwargs)
        self.begin, self.end, self.strides = tuple(begin), tuple(end), tuple(strides)
        self.built = True

    def call(self, inputs):
        return inputs[(slice(None), *self.slices)]

    def compute_output_shape(self, input_shape):
        sizes = [
            None if size is None and part.stop is None else len(range(*part.indices(size or 0)))
            for part, size in zip(self.slices, input_shape[1:], strict=True)
        ]
        return (input_shape[0], *sizes)

    def get_config(self):
        own = {"begin": self.begin, "end": self.end, "strides": self.strides}
        return {**super().get_config(), **own}

    @property
    def slices(self) -> list[slice]:
        """One for each dimension behind the batch."""
        return [slice(*part) for part in zip(self.begin, self.end, self.strides, strict=True)]


class OverAxes:
    """For layers that make one value of many: which dimensions, and whether they stay.

    Args:
        kind: What is made of the values.
        axes: Dimensions, the batch being 0, which is none of them.
        keepdims: Whether they stay, as size 1.
        kwargs: Of the layer.
    """

    def __init__(self, kind, axes, keepdims=False, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.axes, self.keepdims = kind, tuple(axes), keepdims

    def compute_output_shape(self, input_shape):
        if self.keepdims:
            return tuple(1 if i in self.axes else size for i, size in enumerate(input_shape))
        return tuple(size for i, size in enumerate(input_shape) if i not in self.axes)

    def get_config(self):
        own = {"kind": self.kind, "axes": self.axes, "keepdims": self.keepdims}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mobilequant")
class Extreme(OverAxes, keras.layers.Layer):
    """The largest or smallest value over some dimensions.

    Args:
        kind: "max" or "min".
        axes, keepdims: As in `OverAxes`.
    """

    def __init__(self, kind, axes, keepdims=False, **kwargs):
        super().__init__(kind, axes, keepdims, **kwargs)
        self.built = True

    def call(self, inputs):
        function = {"max": ops.max, "min": ops.min}[self.kind]
        return function(inputs, axis=self.axes, keepdims=self.keepdims)


@keras.saving.register_keras_serializable(package="mobilequant")
class ArgMax(keras.layers.Layer):
    """Index of the largest value along one dimension, as int32; of equal ones the first.

    The class of each pixel, of logits: (batch, height, width, classes) to (batch, height, width).
    On a device ARG_MAX. Nothing but an output can be made of it: its gradient is 0.

    Args:
        axis: The dimension, the batch being 0, which it is not.
    """

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis
        self.built = True

    def call(self, inputs):
        return ops.cast(ops.argmax(inputs, axis=self.axis), "int32")

    def compute_output_shape(self, input_shape):
        axis = self.axis % len(input_shape)
        return (*input_shape[:axis], *input_shape[axis + 1 :])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="int32")

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}
