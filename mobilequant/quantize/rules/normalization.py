"""Factors and offsets one a channel without an operator to fold into; other normalizations."""

from __future__ import annotations

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
        return Scheme(bits=8, estimator="ste", granularity=self.granularity(context))

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


@register_rule(keras.layers.LayerNormalization)
class LayerNormalizationRule(Rule):
    """Refused by name.

    TFLite has no operator for it. Of its parts RSQRT is missing in `integer.functions`: an int8
    kernel of LiteRT's with a fixed-point algorithm of its own.
    """

    def build(self, group, context):
        if context.flows_in_float:
            return [clone_layer(group[0].layer)]
        raise Unsupported(
            "layer normalization divides by a deviation that differs from example to example, "
            "for which there is no integer form yet; use BatchNormalization, which costs next to "
            "nothing on a device."
        )


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
