"""What stands for `keras.ops` in the graph that no layer of Keras' computes."""

from __future__ import annotations

from mobilequant import layers
from mobilequant.layers.clipping import Clip, QuantizedClip
from mobilequant.layers.functions import ElementwiseFunction
from mobilequant.layers.reducing import QuantizedReduction, Reduction
from mobilequant.quantize.rules.registry import Rule, clone_layer, register_rule


@register_rule(ElementwiseFunction)
class ElementwiseFunctionRule(Rule):
    """Functions that the device has as operators."""

    def build(self, group, context):
        layer = group[0].layer
        if context.flows_in_float:
            return [clone_layer(layer)]
        context.require(layer.kind)
        outputs = context.recipe.outputs
        return [layers.QuantizedFunction(layer.kind, activations=outputs, name=layer.name)]


@register_rule(Clip)
class ClipRule(Rule):
    """Bounds that are numbers."""

    def build(self, group, context):
        layer = group[0].layer
        if context.flows_in_float:
            return [clone_layer(layer)]
        context.require("QUANTIZE", "MAXIMUM", "MINIMUM")
        outputs = context.recipe.outputs
        return [QuantizedClip(layer.low, layer.high, activations=outputs, name=layer.name)]


@register_rule(Reduction)
class ReductionRule(Rule):
    """Means and sums over any dimensions but the batch."""

    def build(self, group, context):
        layer = group[0].layer
        if context.flows_in_float:
            return [clone_layer(layer)]
        context.require("MEAN", *(["MUL"] if layer.kind == "sum" else []))
        options = layer.kind, layer.axes, layer.keepdims
        outputs = context.recipe.outputs
        return [QuantizedReduction(*options, activations=outputs, name=layer.name)]
