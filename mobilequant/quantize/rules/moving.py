"""Layers that move or drop values and keep the grid."""

from __future__ import annotations

import keras

from mobilequant.layers.moving import TRAINING_ONLY
from mobilequant.layers.selecting import ArgMax, Extreme, Slice
from mobilequant.quantize.rules.registry import (
    Rule,
    clone_layer,
    find_rule,
    register_rule,
    require_channels_last,
)
from mobilequant.quantize.rules.weighted import Conv2DRule


@register_rule(keras.layers.ZeroPadding2D)
class ZeroPadding2DRule(Rule):
    """Zero padding before a VALID convolution that amounts to SAME becomes part of it.

    keras.applications pads by hand before strided convolutions; what a device runs best is the
    convolution alone. Any other zero padding stays a layer of its own: PAD.
    """

    def absorbs(self, group, following, context):
        if len(group) > 1:
            return find_rule(group[1].layer).absorbs(group[1:], following, context)
        return (
            # A user's own rule may not know what to do with another padding.
            isinstance(find_rule(following.layer), Conv2DRule)
            and isinstance(following.layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
            and not context.graph.is_shared(following)
            and following.layer.padding == "valid"
            and _amounts_to_same(group[0], following)
        )

    def build(self, group, context):
        require_channels_last(group[0].layer)
        if len(group) == 1:
            return [clone_layer(group[0].layer)]
        return find_rule(group[1].layer).build(group[1:], context, padding="same")


@register_rule(*TRAINING_ONLY)
class TrainingOnlyRule(Rule):
    """Layers that do nothing in inference: they train on, and are gone at export."""

    def build(self, group, context):
        return [clone_layer(group[0].layer)]


#: What the layers below are on a device.
_OPERATORS = {
    keras.layers.Cropping1D: ("SLICE",),
    keras.layers.Cropping2D: ("SLICE",),
    keras.layers.Flatten: ("RESHAPE",),
    keras.layers.GlobalMaxPooling1D: ("MAX_POOL_2D", "RESHAPE"),
    keras.layers.GlobalMaxPooling2D: ("MAX_POOL_2D", "RESHAPE"),
    keras.layers.MaxPooling1D: ("MAX_POOL_2D", "RESHAPE"),
    keras.layers.MaxPooling2D: ("MAX_POOL_2D",),
    keras.layers.Permute: ("TRANSPOSE",),
    keras.layers.RepeatVector: ("RESIZE_NEAREST_NEIGHBOR", "RESHAPE"),
    keras.layers.Reshape: ("RESHAPE",),
    keras.layers.UpSampling1D: ("RESIZE_NEAREST_NEIGHBOR", "RESHAPE"),
    keras.layers.ZeroPadding1D: ("PAD",),
    ArgMax: ("ARG_MAX",),
    Extreme: ("REDUCE_MAX", "REDUCE_MIN"),
    Slice: ("SLICE", "STRIDED_SLICE"),
}


@register_rule(*_OPERATORS)
class KeepRule(Rule):
    """Layers that move, select or drop values and keep the grid: taken over as they are."""

    def build(self, group, context):
        layer = group[0].layer
        require_channels_last(layer)
        if not context.flows_in_float:
            kind = next(kind for kind in type(layer).__mro__ if kind in _OPERATORS)
            context.require(*_OPERATORS[kind])
        return [clone_layer(layer)]


def _amounts_to_same(padding_call, convolution_call):
    """Whether explicit zeros are those that SAME would add at this (static) size."""
    size = padding_call.inputs[0].shape[1:3]
    layer = convolution_call.layer
    if None in size or tuple(layer.dilation_rate) != (1, 1):
        return False
    for extent, kernel, stride, given in zip(
        size, layer.kernel_size, layer.strides, padding_call.layer.padding, strict=True
    ):
        total = max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
        if tuple(given) != (total // 2, total - total // 2):
            return False
    return True
