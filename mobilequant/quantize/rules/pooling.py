"""Pooling and interpolation: layers that compute means; those that select are in `moving`."""

from __future__ import annotations

import keras

from mobilequant import layers
from mobilequant.quantize.rules.registry import (
    Rule,
    Unsupported,
    clone_layer,
    register_rule,
    require_channels_last,
)


@register_rule(keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D)
class GlobalAveragePoolingRule(Rule):
    """The mean over height and width, or over the length."""

    def build(self, group, context):
        layer = group[0].layer
        require_channels_last(layer)
        context.require("MEAN")
        kind = layers.QuantizedGlobalAveragePooling2D
        if isinstance(layer, keras.layers.GlobalAveragePooling1D):
            kind = layers.QuantizedGlobalAveragePooling1D
        return [kind(layer.keepdims, activations=context.recipe.outputs, name=layer.name)]


@register_rule(keras.layers.AveragePooling1D, keras.layers.AveragePooling2D)
class AveragePoolingRule(Rule):
    """Means over windows, on the input's grid."""

    def build(self, group, context):
        layer = group[0].layer
        require_channels_last(layer)
        if context.flows_in_float:
            return [clone_layer(layer)]
        context.require("AVERAGE_POOL_2D")
        return [layers.QuantizedAveragePooling(clone_layer(layer), name=layer.name)]


@register_rule(keras.layers.UpSampling2D, keras.layers.Resizing)
class ResizingRule(Rule):
    """Nearest neighbours, or bilinear interpolation."""

    def build(self, group, context):
        layer = group[0].layer
        require_channels_last(layer)
        if context.flows_in_float:
            return [clone_layer(layer)]
        if len(group[0].inputs[0].shape) != 4:
            raise Unsupported("an input without a batch of images.")
        for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
            if getattr(layer, option, False):
                raise Unsupported(f"{option}; resize without it, or before the model.")
        if layer.interpolation == "nearest":
            context.require("RESIZE_NEAREST_NEIGHBOR")
            return [clone_layer(layer)]
        if layer.interpolation != "bilinear":
            raise Unsupported(
                f"{layer.interpolation} interpolation; TFLite has 'nearest' and 'bilinear'."
            )
        context.require("RESIZE_BILINEAR")
        return [layers.QuantizedBilinearResizing(clone_layer(layer), name=layer.name)]
