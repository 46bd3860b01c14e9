"""Factors and offsets one a channel without an operator to fold into; other normalizations."""

from __future__ import annotations

import math

import keras
import numpy as np

from mobilequant import layers
from mobilequant.layers.scaling import LayerScale
from mobilequant.quantize.rules.registry import (
    Rule,
    Unsupported,
    clone_layer,
    register_rule,
)
from mobilequant.quantize.rules.weighted import DepthwiseConv2DRule
from mobilequant.quantizers import Scheme

#: What `QuantizedStandardization` is made of.
_STANDARDIZATION = ("MEAN", "SUB", "BATCH_MATMUL", "RSQRT", "MUL", "ADD", "RESHAPE")

#: Layers that are a factor and an offset for each channel, and do not follow the batch.
_FIXED = (keras.layers.Rescaling, keras.layers.Normalization, LayerScale)


@register_rule(keras.layers.BatchNormalization, *_FIXED)
class ChannelwiseRule(DepthwiseConv2DRule):
    """Batch normalization, `Rescaling`, `Normalization`, `LayerScale`, and what follows of them.

    One depthwise convolution of size 1×1 for all of them, on a tensor of any rank.
    """

    quantized = layers.QuantizedChannelwise

    def absorbs(self, group, following, context):
        if context.flows_in_float or context.graph.is_shared(following):
            return False
        if len(self.fixed(group)) == len(group) and isinstance(following.layer, _FIXED):
            return True
        return super().absorbs(group, following, context)

    def is_bare(self, head):
        return True

    def fixed(self, group):
        """The calls at its head that do not follow the batch."""
        count = 0
        while count < len(group) and isinstance(group[count].layer, _FIXED):
            count += 1
        return group[:count]

    def behind(self, group):
        return group[len(self.fixed(group)) :]

    def weights(self, group, context):
        return _exact_weights(self.granularity(context))

    def changes(self, group, context):
        return {}

    def stock_layer(self, group, changes):
        channels = group[0].inputs[0].shape[-1]
        scale, offset = np.ones(channels), np.zeros(channels)
        for call in self.fixed(group):
            factor, summand = _factors(call.layer, call.inputs[0].shape)
            scale, offset = scale * factor, offset * factor + summand
        layer = keras.layers.DepthwiseConv2D(
            1, use_bias=bool(offset.any()), name=f"{group[0].layer.name}_factors"
        )
        layer.build((None, 1, 1, channels))
        layer.kernel.assign(np.reshape(scale, layer.kernel.shape))
        if layer.use_bias:
            layer.bias.assign(offset)
        learned = [call.layer for call in self.fixed(group) if isinstance(call.layer, LayerScale)]
        layer.trainable = any(layer.trainable for layer in learned)
        return layer

    def build(self, group, context, **changes):
        call = group[0]
        if context.flows_in_float:
            return [_cloned(call.layer)]
        context.require("DEPTHWISE_CONV_2D")
        if len(call.inputs[0].shape) < 2 or call.inputs[0].shape[-1] is None:
            raise Unsupported("an input without channels of a known number.")
        return super().build(group, context, **changes)


@register_rule(keras.layers.LayerNormalization, keras.layers.RMSNormalization)
class LayerNormalizationRule(Rule):
    """Layer and RMS normalization over the last dimensions.

    The standardization in operators that the device has, then γ and β as one depthwise
    convolution of size 1×1, whose weights, one a channel, are exact at 8 bits.
    """

    def build(self, group, context):
        call = group[0]
        layer = call.layer
        if context.flows_in_float:
            return [clone_layer(layer)]
        context.require(*_STANDARDIZATION)
        shape = _normalized_shape(call)
        size, single = math.prod(shape), len(shape) == 1
        factors = _learned(layer, size)
        last = layer.name if factors is None and single else f"{layer.name}_standardized"
        new = [
            layers.QuantizedStandardization(
                layer.epsilon,
                isinstance(layer, keras.layers.LayerNormalization),
                activations=context.recipe.outputs,
                name=last,
            )
        ]
        if factors is not None:
            context.require("DEPTHWISE_CONV_2D")
            new.append(
                layers.QuantizedChannelwise(
                    factors,
                    weights=_exact_weights(context.target.convolution_granularity),
                    activations=context.recipe.outputs,
                    name=layer.name if single else f"{layer.name}_scaled",
                )
            )
        if single:
            return new
        outer = call.inputs[0].shape[1 : -len(shape)]
        flat = keras.layers.Reshape((*_open(outer), size), name=f"{layer.name}_flat")
        whole = keras.layers.Reshape((*_open(outer), *shape), name=layer.name)
        return [flat, *new, whole]


def _normalized_shape(call):
    """Sizes of the dimensions that are normalized; refuses all but the last ones."""
    layer, shape = call.layer, tuple(call.inputs[0].shape)
    if getattr(layer, "rms_scaling", False):
        raise Unsupported("rms_scaling, which Keras gave up; use keras.layers.RMSNormalization.")
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    axes = sorted(axis % len(shape) for axis in axes)
    if axes != list(range(axes[0], len(shape))) or axes[0] == 0:
        raise Unsupported(
            f"normalization over the dimensions {tuple(axes)} of {len(shape)}; only the last ones "
            "are normalized together: put keras.layers.Permute before and behind it."
        )
    if None in shape[axes[0] :]:
        raise Unsupported("dimensions of unknown size are normalized; give them one.")
    return shape[axes[0] :]


def _learned(layer, size):
    """γ and β as a depthwise convolution; None where there are neither."""
    gamma = layer.scale if isinstance(layer, keras.layers.RMSNormalization) else layer.gamma
    beta = getattr(layer, "beta", None)
    if gamma is None and beta is None:
        return None
    factors = keras.layers.DepthwiseConv2D(
        1, use_bias=beta is not None, name=f"{layer.name}_factors"
    )
    factors.build((None, 1, 1, size))
    kernel = keras.ops.ones(size) if gamma is None else gamma
    factors.kernel.assign(keras.ops.reshape(kernel, factors.kernel.shape))
    if beta is not None:
        factors.bias.assign(keras.ops.reshape(beta, (size,)))
    factors.trainable = layer.trainable
    return factors


def _open(sizes):
    """Sizes for `Reshape`, which takes one that is unknown."""
    return tuple(-1 if size is None else size for size in sizes)


def _exact_weights(granularity):
    """`Scheme` of factors one a channel: 8 bits, which hold them exactly."""
    return Scheme(bits=8, estimator="ste", granularity=granularity)


def _factors(layer, shape):
    """Factor and offset of each channel, as float64 arrays."""
    channels = shape[-1]
    if isinstance(layer, LayerScale):
        return np.asarray(keras.ops.convert_to_numpy(layer.gamma), "float64"), 0.0
    if isinstance(layer, keras.layers.Rescaling):
        values = layer.scale, layer.offset
    else:
        values = _of_normalization(layer)
    values = [np.asarray(keras.ops.convert_to_numpy(value), "float64") for value in values]
    for value in values:
        if value.size not in (1, channels) or (value.ndim and value.shape[-1] != value.size):
            raise Unsupported(
                f"values of shape {value.shape} on a tensor of shape {tuple(shape)}; only one, "
                "or one a channel, is computed."
            )
    return tuple(np.broadcast_to(value.reshape(-1), (channels,)) for value in values)


def _of_normalization(layer):
    layer.finalize_state()
    mean, variance = (
        np.asarray(keras.ops.convert_to_numpy(value), "float64")
        for value in (layer.mean, layer.variance)
    )
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    return (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)


def _cloned(layer):
    copy = clone_layer(layer)
    if isinstance(layer, keras.layers.Normalization):
        copy.finalize_state()
    return copy
