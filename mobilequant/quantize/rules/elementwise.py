"""Operators that go element by element: additions, products, extrema, activations as layers."""

from __future__ import annotations

import keras

from mobilequant import layers
from mobilequant.quantize.rules.activations import known, plan_of
from mobilequant.quantize.rules.composite import Composite
from mobilequant.quantize.rules.registry import (
    Rule,
    Unsupported,
    clone_layer,
    name_of,
    register_rule,
)


class _MergeRule(Rule):
    """Two tensors to one, broadcast; absorbs a ReLU. More than two are a chain."""

    quantized: type = None
    operator = ""

    def absorbs(self, group, following, context):
        plan = plan_of(following.layer)
        if len(group) > 1 or context.graph.is_shared(following) or plan is None:
            return False
        return (
            plan.behind is None and plan.refusal is None and plan.fused in layers.MERGE_ACTIVATIONS
        )

    def build(self, group, context):
        context.require(self.operator)
        call = group[0]
        activation = plan_of(group[1].layer).fused if len(group) > 1 else "linear"
        make = self._layer(context)
        if len(call.inputs) == 2:
            return [make(activation, name=call.layer.name)]

        def chain(name, tensors):
            value, *others = tensors
            for i, other in enumerate(others):
                last = i == len(others) - 1
                layer = (
                    make(activation, name=name)
                    if last
                    else make("linear", name=f"{name}_first{i + 2}")
                )
                value = layer([value, other])
            return value

        return [Composite(chain, call.layer.name)]

    def _layer(self, context):
        def make(activation, name):
            return self.quantized(activation, activations=context.recipe.outputs, name=name)

        return make


@register_rule(keras.layers.Add)
class AddRule(_MergeRule):
    """Sum of two or more tensors."""

    quantized = layers.QuantizedAdd
    operator = "ADD"


@register_rule(keras.layers.Subtract)
class SubtractRule(_MergeRule):
    """The first tensor minus the second."""

    quantized = layers.QuantizedSubtract
    operator = "SUB"


@register_rule(keras.layers.Multiply)
class MultiplyRule(_MergeRule):
    """Product of two or more tensors."""

    quantized = layers.QuantizedMultiply
    operator = "MUL"


class _ExtremumRule(Rule):
    """The larger or smaller of two or more tensors."""

    quantized: type = None
    operator = ""

    def build(self, group, context):
        layer = group[0].layer
        if context.flows_in_float:
            return [clone_layer(layer)]
        context.require(self.operator, "QUANTIZE")
        return [self.quantized(activations=context.recipe.outputs, name=layer.name)]


@register_rule(keras.layers.Maximum)
class MaximumRule(_ExtremumRule):
    """Element by element the largest value."""

    quantized = layers.QuantizedMaximum
    operator = "MAXIMUM"


@register_rule(keras.layers.Minimum)
class MinimumRule(_ExtremumRule):
    """Element by element the smallest value."""

    quantized = layers.QuantizedMinimum
    operator = "MINIMUM"


@register_rule(keras.layers.Concatenate)
class ConcatenateRule(Rule):
    """Concatenation along any dimension but the batch."""

    def build(self, group, context):
        call = group[0]
        layer, rank = call.layer, len(call.inputs[0].shape)
        if context.flows_in_float:
            return [clone_layer(layer)]
        if layer.axis % rank == 0:
            raise Unsupported("concatenation of batches; concatenate along another dimension.")
        context.require("CONCATENATION", "QUANTIZE")
        return [
            layers.QuantizedConcatenate(
                layer.axis % rank, activations=context.recipe.outputs, name=layer.name
            )
        ]


@register_rule(keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
class ActivationRule(Rule):
    """Activations that the layer before them does not absorb."""

    def build(self, group, context):
        layer = group[0].layer
        plan = plan_of(layer)
        if context.flows_in_float:
            return [clone_layer(layer)]
        if plan is None:
            raise Unsupported(
                f"activation {name_of(getattr(layer, 'activation', layer))} has no rule; these "
                f"have one: {known()}."
            )
        if plan.refusal:
            raise Unsupported(plan.refusal)
        return (plan.alone or plan.behind)(layer.name, context)


@register_rule(keras.layers.PReLU)
class PReLURule(Rule):
    """A ReLU with learned slopes."""

    def build(self, group, context):
        layer = group[0].layer
        if context.flows_in_float:
            return [clone_layer(layer)]
        context.require("PRELU")
        return [
            layers.QuantizedPReLU(
                clone_layer(layer), activations=context.recipe.outputs, name=layer.name
            )
        ]


@register_rule(keras.layers.Softmax)
class SoftmaxRule(Rule):
    """Softmax over one dimension."""

    def build(self, group, context):
        call = group[0]
        layer, rank = call.layer, len(call.inputs[0].shape)
        if context.flows_in_float:
            return [clone_layer(layer)]
        if len(call.inputs) > 1 or call.arguments.get("mask") is not None:
            raise Unsupported("softmax with a mask; TFLite's has none.")
        axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
        if len(axes) > 1 or axes[0] % rank == 0:
            raise Unsupported(
                f"softmax over the dimensions {layer.axis}; over any single one but the batch it "
                "can be computed. Reshape so that there is one."
            )
        axis = axes[0] % rank
        context.require("SOFTMAX", *(["TRANSPOSE"] if axis != rank - 1 else []))
        axis = -1 if axis == rank - 1 else axis
        return [layers.QuantizedSoftmax(axis, activations=context.recipe.outputs, name=layer.name)]
