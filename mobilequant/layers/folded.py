"""Operators with weights: kernel, batch normalization and activation as one integer step.

A device runs [convolution, batch normalization, ReLU6] as one operator. So does a `FoldedLayer`:
the stock Keras layers stay inside it, with their variables, initializers and regularizers; in
training it computes with the quantized kernel and the batch's statistics, in inference with the
integers and the bias that folding gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer import arithmetic
from mobilequant.integer.arithmetic import Grid
from mobilequant.layers.activation_quantizer import (
    FLOAT,
    PARTS,
    observation_method,
    observer_of_normalization,
    observing_synthetic,
    simulated_parts,
)
from mobilequant.layers.base import QuantizedLayer, build_quantizer, describe
from mobilequant.layers.normalization import batch_normalize, inference_factors
from mobilequant.layers.variables import read
from mobilequant.layers.weight_quantizer import WeightQuantizer
from mobilequant.quantizers import Scheme
from mobilequant.quantizers.exact import rounded


class FusedActivation(NamedTuple):
    """An activation that an operator with weights computes by itself.

    Attributes:
        function: In Keras, on the real value y.
        kind: Its name in TFLite.
        lowest: Smallest value that it gives, where there is one.
        slope, shift: Where it is a clip of slope·y + shift to what its output's range can hold:
            factor and offset go into weights and bias, and int8 does the clipping.
    """

    function: Callable
    kind: str
    lowest: float | None = None
    slope: float = 1.0
    shift: float = 0.0


#: By name of the Keras function.
FUSED_ACTIVATIONS = {
    "linear": FusedActivation(lambda x: x, "NONE"),
    "relu": FusedActivation(ops.relu, "RELU", 0.0),
    "relu6": FusedActivation(ops.relu6, "RELU6", 0.0),
    "hard_sigmoid": FusedActivation(ops.hard_sigmoid, "NONE", 0.0, 1 / 6, 0.5),
}

#: Biases stay below this, so that an int32 accumulator has room for the sum of products.
_LARGEST_BIAS = 2.0**30

#: Output steps that one accumulator step is worth at least; less is nothing to the device.
_SMALLEST_MULTIPLIER = 2.0**-32


class FoldedLayer(QuantizedLayer):
    """Base of the quantized layers with a kernel.

    Args:
        layer: The stock Keras layer, without activation; it keeps its variables. None in a layer
            that shares the weights of another, see `borrower`.
        normalization: The stock `BatchNormalization` behind it, or None.
        activation: A key of `FUSED_ACTIVATIONS`.
        weights: `Scheme` of the kernel.
        activations: `Scheme` of the output.
        inputs: `Scheme` of what the operator takes, where that is not how it comes; or None.
        factor: What the output is multiplied by before the activation, above 0; it costs nothing.

    Raises:
        ValueError: An activation that the operator cannot fuse, or a policy other than float32.
    """

    kind = ""

    def __init__(
        self,
        layer,
        normalization=None,
        activation="linear",
        *,
        weights,
        activations,
        inputs=None,
        factor=1.0,
        **kwargs,
    ):
        if layer is not None:
            kwargs.setdefault("name", layer.name)
        super().__init__(**kwargs)
        if activation not in FUSED_ACTIVATIONS:
            raise ValueError(
                f"Layer {self.name!r}: activation {activation!r} cannot be fused; "
                f"one of {sorted(FUSED_ACTIVATIONS)} can."
            )
        self.borrows = layer is None
        self.layer = layer
        self.normalization = normalization
        self.activation = activation
        self.factor = float(factor)
        self.weight_scheme, self.activation_scheme, self.input_scheme = (
            Scheme(**scheme) if isinstance(scheme, dict) else scheme
            for scheme in (weights, activations, inputs)
        )

    def borrower(self, name):
        """A layer of the same kind for another call of the same weights, with its own ranges.

        It is called with `weights_of=`, an output of this layer: an edge in Keras' graph, so that
        the weights stay shared in every saved, loaded or cloned model.

        Args:
            name: Of the new layer.
        """
        config = {**self.get_config(), "layer": None, "normalization": None, "name": name}
        return type(self).from_config(config)

    def __call__(self, *args, **kwargs):
        if self.layer is None:
            self._borrow(kwargs.get("weights_of"))
        return super().__call__(*args, **kwargs)

    def call(self, inputs, training=None, weights_of=None):
        return super().call(inputs, training=training)

    def _borrow(self, tensor):
        history = getattr(tensor, "_keras_history", None)
        if history is None:
            raise ValueError(
                f"Layer {self.name!r} shares the weights of another layer and is part of a model: "
                "it cannot be called outside of it."
            )
        self.layer = history.operation.layer
        self.normalization = history.operation.normalization

    def get_build_config(self):
        return None if self.borrows else super().get_build_config()

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)
        if self.normalization is not None and not self.normalization.built:
            self.normalization.build(self.compute_output_shape(input_shape))
        self.weight_quantizer = WeightQuantizer(self.weight_scheme, name="weight_quantizer")
        self.weight_quantizer.build(self.flat_kernel())
        self.output_quantizer = build_quantizer(
            self,
            "output_quantizer",
            self.activation_scheme,
            self.compute_output_shape(input_shape),
            lowest=self.fused.lowest,
        )
        self.input_quantizer = None
        if self.input_scheme is not None:
            self.input_quantizer = build_quantizer(
                self, "input_quantizer", self.input_scheme, input_shape
            )
        self.built = True

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "layer": None if self.borrows else serialize(self.layer),
            "normalization": (
                serialize(self.normalization) if self.normalization and not self.borrows else None
            ),
            "activation": self.activation,
            "weights": self.weight_scheme.get_config(),
            "activations": self.activation_scheme.get_config(),
            "inputs": self.input_scheme.get_config() if self.input_scheme else None,
            "factor": self.factor,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for part in ("layer", "normalization"):
            if isinstance(config[part], dict):
                config[part] = keras.saving.deserialize_keras_object(config[part])
        return cls(**config)

    # What a kind of operator defines.

    def flat_kernel(self):
        """The kernel with the output channels last."""
        return read(self.layer.kernel)

    def restore_kernel(self, flat):
        """`flat_kernel` back in the layout of the layer."""
        return flat

    def set_flat_kernel(self, flat):
        """Changes the weights of the layer, laid out as `flat_kernel`."""
        kernel = self.layer.kernel
        kernel.assign(ops.reshape(self.restore_kernel(flat), kernel.shape))

    def product(self, x, kernel):
        """The linear part in float."""
        raise NotImplementedError

    def integer_product(self, x, kernel, bias, scaling, output, activation):
        """The operator of `integer.arithmetic`."""
        raise NotImplementedError

    def device_kernel(self, flat):
        """`flat_kernel` in the layout of the frozen operator's weights."""
        return self.restore_kernel(flat)

    def options(self) -> dict:
        """Options of the frozen operator."""
        return {}

    def frame(self, source, output):
        """What stands around the frozen operator, where its tensors have another shape.

        Returns:
            operators before it, its input, its output, operators behind it.
        """
        return [], source, output, []

    @property
    def fused_kind(self) -> str:
        """Its activation as the operator has it."""
        return self.fused.kind

    @property
    def fused(self) -> FusedActivation:
        """Its activation."""
        return FUSED_ACTIVATIONS[self.activation]

    @property
    def quantizers(self):
        extra = [self.input_quantizer] if self.input_quantizer is not None else []
        return [*super().quantizers, *extra]

    def obstacle(self):
        weights, inputs = self.weight_scheme, self.input_quantizer
        if inputs is not None and not inputs.on_device_grid:
            return f"takes {describe(self.input_scheme)}"
        if not weights.quantized or weights.grid != "linear" or weights.granularity == "block":
            return f"has weights of {describe(weights)}"
        if inputs is not None:
            return f"takes float, and makes {describe(self.input_scheme)} of it"
        return super().obstacle()

    # Training.

    def train(self, x):
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        on = read(self.output_quantizer.phase) > FLOAT
        flat = self.weight_quantizer(self.flat_kernel(), on)
        normalization, factor = self.normalization, self.factor
        if factor != 1.0 and normalization is None:
            flat = flat * factor
        y = self.product(x, self.restore_kernel(flat))
        if self.layer.use_bias:
            bias = read(self.layer.bias)
            y = y + (bias if normalization is not None else bias * factor)
        if normalization is not None:
            y = batch_normalize(y, normalization, self.output_quantizer.frozen(), factor)
        return self.output_quantizer(self.fused.function(y))

    # Inference.

    def infer_float(self, x, observing):
        flat = self.flat_kernel()
        if observing:
            flat = self.weight_quantizer.simulate(flat)
            if self.input_quantizer is not None:
                self.input_quantizer.observe(x, observation_method())
        return self.infer_with(x, flat)

    def simulate(self, x):
        on = self.output_quantizer.ready()
        if self.input_quantizer is not None:
            on = self.input_quantizer.ready()
            x = self.input_quantizer.infer(x)
        flat = self.flat_kernel()
        if "weights" in (simulated_parts() or PARTS):
            flat = self.weight_quantizer.simulate(flat, on)
        return self.output_quantizer.infer(self.infer_with(x, flat))

    def infer_with(self, x, flat, shift=None):
        """Inference in float with another kernel, laid out as `flat_kernel`.

        Args:
            x: float32 tensor.
            flat: The kernel.
            shift: What is taken off the linear part, one number a channel; nothing by default.
        """
        y = self.product(x, self.restore_kernel(flat))
        if shift is not None:
            y = y - shift
        observer = observer_of_normalization()
        if observer and self.normalization is not None:
            observer(self.normalization, y, self.layer.bias if self.layer.use_bias else None)
        scale, offset = self._affine(y if observer or observing_synthetic() else None)
        return self.fused.function(y * scale + offset)

    def mean_change(self, x, change):
        """By how much the mean of each channel of the linear part changes with the kernel.

        Args:
            x: float32 tensor; of its first dimension the mean is enough.
            change: What is added to the kernel, laid out as `flat_kernel`.
        """
        # The product is linear in what it takes: one place, once for all images.
        y = self.product(ops.mean(x, axis=0, keepdims=True), self.restore_kernel(change))
        return ops.mean(y, axis=tuple(range(len(y.shape) - 1)))

    @property
    def has_offset(self) -> bool:
        """Whether something is there that can take a shift of the linear part off."""
        return self.normalization is not None or self.layer.use_bias

    def take_off(self, shift):
        """Takes a shift of the linear part off, one number a channel."""
        if self.normalization is not None:
            # It subtracts its mean.
            mean = self.normalization.moving_mean
            mean.assign(mean + shift)
        else:
            self.layer.bias.assign(self.layer.bias - shift)

    def infer_integer(self, centred):
        (source,) = self.input_grids()
        output = self.output_quantizer.grid()
        kernel, scales, bias = self.fold(source, output)
        return self.integer_product(
            centred,
            self.restore_kernel(kernel),
            bias,
            arithmetic.multiplier(source.scale, scales, output.scale),
            output,
            self.fused_kind,
        )

    def freeze(self, inputs, output_shape):
        output = self.describe_output(output_shape)
        before, source, result, after = self.frame(inputs[0], output)
        kernel, scales, bias = self.fold(*self.input_grids(), self.output_quantizer.grid())
        kernel, scales, bias = (
            ops.convert_to_numpy(v) for v in (self.device_kernel(kernel), scales, bias)
        )
        operator = integer.Operator(
            kind=self.kind,
            name=self.name,
            inputs=[source],
            outputs=[result],
            weights=integer.Weights(
                values=kernel.astype(np.int8),
                scales=np.atleast_1d(scales).astype(np.float32),
                bits=self.weight_scheme.storage_bits,
                bias=bias.astype(np.int32),
            ),
            activation=self.fused_kind,
            options=self.options(),
        )
        return [*before, operator, *after], output

    def fold(self, source: Grid, output: Grid):
        """Integers, scales and biases with batch normalization folded in, exactly.

        The integers are those of the quantized kernel: folding only multiplies scales. Where the
        factor of a channel is negative, its integers change sign. Where it is so small (a factor
        of 0, a nearly dead channel) that the bias would leave int32, the channel gets the scale
        that the bias needs, and its integers shrink in proportion, usually to 0.

        Args:
            source, output: Grids of input and output.

        Returns:
            kernel: float32 whole numbers, laid out as `flat_kernel`.
            scales: float32, one, or one a channel.
            bias: int32, one a channel.
        """
        integers, scales = self.weight_quantizer.integers(self.flat_kernel())
        factor, offset = self._affine()
        fused = self.fused
        if fused.slope != 1.0 or fused.shift:
            factor = factor * fused.slope
            offset = rounded(offset * fused.slope) + fused.shift
        if self.normalization is not None:
            integers = integers * ops.where(factor < 0, -1.0, 1.0)
            scales = scales * ops.abs(factor)
        elif self.factor * fused.slope != 1.0:
            # One factor for all, which may not become one scale a channel.
            scales = scales * (self.factor * fused.slope)
        needed = ops.maximum(
            ops.abs(offset) * (1.0 / _LARGEST_BIAS) / source.scale,
            output.scale * _SMALLEST_MULTIPLIER / source.scale,
        )
        if len(scales.shape) == 0:
            needed = ops.max(needed)
        usable = ops.maximum(scales, needed)
        integers = ops.where(usable > scales, ops.round(integers * (scales / usable)), integers)
        steps = offset / rounded(source.scale * usable)
        return integers, usable, ops.cast(ops.round(steps), "int32")

    def _affine(self, y=None):
        """What follows the linear part in inference: y * scale + offset, one a channel.

        Args:
            y: The linear part, where it is normalized by its own statistics.
        """
        bias = read(self.layer.bias) if self.layer.use_bias else None
        if self.normalization is not None:
            scale, offset = inference_factors(self.normalization, bias, y)
        else:
            channels = self.flat_kernel().shape[-1]
            scale = ops.ones((channels,))
            offset = bias if bias is not None else ops.zeros((channels,))
        if self.factor != 1.0:
            scale, offset = scale * self.factor, offset * self.factor
        return scale, offset
