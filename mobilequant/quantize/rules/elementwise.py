"""Operators that go element by element: additions, products, activations as layers."""

from __future__ import annotations

import keras

from mobilequant import layers
from mobilequant.layers.folded import FUSED_ACTIVATIONS
from mobilequant.quantize.rules.activations import plan_of, plan_of_function
from mobilequant.quantize.rules.registry import Rule, Unsupported, name_of, register_rule


class _MergeRule(Rule):
    """Two tensors to one; absorbs a ReLU."""

    quantized: type = None

    def absorbs(self, group, following, context):
        plan = plan_of(following.layer)
        if len(group) > 1 or context.graph.is_shared(following) or plan is None:
            return False
        return plan.behind is None and plan.fused in layers.MERGE_ACTIVATIONS

    def check(self, call):
        """Refuses shapes that the operator does not take."""

    def build(self, group, context):
        call = group[0]
        self.check(call)
        activation = plan_of(group[1].layer).fused if len(group) > 1 else "linear"
        return [
            self.quantized(activation, activations=context.recipe.outputs, name=call.layer.name)
        ]


@register_rule(keras.layers.Add)
class AddRule(_MergeRule):
    """Addition of two tensors of one shape."""

    quantized = layers.QuantizedAdd

    def check(self, call):
        shapes = [tuple(tensor.shape) for tensor in call.inputs]
        if len(shapes) != 2 or shapes[0] != shapes[1]:
            raise Unsupported(f"only two tensors of one shape are added, not {shapes}.")


@register_rule(keras.layers.Multiply)
class MultiplyRule(_MergeRule):
    """Product of two tensors; dimensions of size 1 are repeated, as a gate for each channel."""

    quantized = layers.QuantizedMultiply

    def check(self, call):
        shapes = [tuple(tensor.shape) for tensor in call.inputs]
        if len(shapes) != 2 or len(shapes[0]) != len(shapes[1]):
            raise Unsupported(f"two tensors of the same rank are multiplied, not {shapes}.")


@register_rule(keras.layers.Softmax, keras.layers.Activation, keras.layers.ReLU)
class ActivationRule(Rule):
    """Activations that the layer before them does not absorb."""

    def build(self, group, context):
        layer = group[0].layer
        if isinstance(layer, keras.layers.Softmax):
            return self.softmax(layer, len(group[0].inputs[0].shape), context)
        plan = plan_of(layer)
        activation = getattr(layer, "activation", layer)
        if activation is keras.activations.linear:
            return [keras.layers.Identity(name=layer.name)]
        if context.flows_in_float:
            raise Unsupported("flows in float.")
        if activation is keras.activations.hard_silu:
            context.require(*plan.operators)
            outputs = context.recipe.outputs
            return [layers.QuantizedHardSwish(False, activations=outputs, name=layer.name)]
        if plan is None or plan.behind is None:
            raise Unsupported(
                f"activation {name_of(activation)} has no rule here; directly behind a "
                f"convolution or a Dense layer {', '.join(sorted(FUSED_ACTIVATIONS))} have."
            )
        context.require(*plan.operators)
        return plan.behind(layer.name, context)

    def softmax(self, layer, rank, context):
        if layer.axis not in (-1, rank - 1):
            raise Unsupported(f"softmax over dimension {layer.axis}; only over the last.")
        plan = plan_of_function(keras.activations.softmax)
        context.require(*plan.operators)
        return plan.behind(layer.name, context)
