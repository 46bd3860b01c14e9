"""Means over height and width."""

from __future__ import annotations

import keras

from mobilequant import layers
from mobilequant.quantize.rules.registry import Rule, register_rule, require_channels_last


@register_rule(keras.layers.GlobalAveragePooling2D)
class GlobalAveragePooling2DRule(Rule):
    """The mean over height and width."""

    def build(self, group, context):
        layer = group[0].layer
        require_channels_last(layer)
        return [
            layers.QuantizedGlobalAveragePooling2D(
                layer.keepdims, activations=context.recipe.outputs, name=layer.name
            )
        ]
