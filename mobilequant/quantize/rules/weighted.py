"""Operators with a kernel, and what they absorb: normalization, factors, an activation."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from mobilequant import layers
from mobilequant.layers.scaling import LayerScale
from mobilequant.quantize.rules.activations import Plan, known, plan_of, plan_of_function
from mobilequant.quantize.rules.registry import (
    Rule,
    Unsupported,
    clone_layer,
    name_of,
    register_rule,
    require_channels_last,
)
from mobilequant.quantizers import Scheme


class WeightedRule(Rule):
    """Base: absorbs a batch normalization, a factor (`LayerScale`, `Rescaling`), an activation."""

    quantized: type = None
    absorbs_factors = True

    def absorbs(self, group, following, context):
        head = group[0].layer
        if context.graph.is_shared(following) or not self.is_bare(head):
            return False
        behind = [call.layer for call in self.behind(group)]
        if any(plan_of(layer) is not None for layer in behind):
            return False
        layer = following.layer
        if isinstance(layer, keras.layers.BatchNormalization):
            return self.absorbs_factors and not behind
        if isinstance(layer, LayerScale):
            return self.absorbs_factors and not any(isinstance(b, LayerScale) for b in behind)
        if isinstance(layer, keras.layers.Rescaling):
            scalar = isinstance(layer.scale, (int, float)) and layer.scale > 0
            return scalar and not layer.offset and not context.flows_in_float
        plan = plan_of(layer)
        if plan is None or plan.refusal or plan is plan_of_function(keras.activations.softmax):
            return False
        # What is not fused is a layer of its own in any case where the rest flows in float.
        return plan.behind is None and plan.fused != "hard_sigmoid" or not context.flows_in_float

    def is_bare(self, head) -> bool:
        """Whether the layer has no activation of its own."""
        return head.activation is keras.activations.linear

    def granularity(self, context) -> str:
        """What shares a scale on the target, "tensor" or "channel"."""
        return context.target.convolution_granularity

    def weights(self, group, context) -> Scheme:
        """The scheme of the kernel: what the recipe asks, no finer than the target takes."""
        recipe = context.recipe_of(group[0])
        scheme = recipe.weights
        # Blocks and what is not for a device anyway are left as they were asked for.
        if scheme.granularity == "channel" and recipe.outputs.on_device_grid:
            return dataclasses.replace(scheme, granularity=self.granularity(context))
        return scheme

    def changes(self, group, context) -> dict:
        """Changes to the stock layer's configuration; refuses what the operator cannot do."""
        return {}

    def stock_layer(self, group, changes):
        """A copy of the stock layer that the operator keeps."""
        return clone_layer(group[0].layer, **changes)

    def behind(self, group):
        """The calls that the operator absorbed."""
        return group[1:]

    def plan(self, group, context):
        """What the activation of the group becomes, and the layer that has it."""
        for call in self.behind(group):
            if plan_of(call.layer) is not None:
                return plan_of(call.layer), call.layer
        head = group[0].layer
        plan = plan_of_function(getattr(head, "activation", keras.activations.linear))
        if plan is None and context.flows_in_float:
            return Plan(fused="", refusal="unknown"), head
        if plan is None:
            raise Unsupported(
                f"activation {name_of(head.activation)} has no rule; these have one: {known()}."
            )
        if plan.refusal and not context.flows_in_float:
            raise Unsupported(plan.refusal)
        return plan, head

    def build(self, group, context, **changes):
        """As `Rule.build`; `changes` go into the stock layer's configuration."""
        head = group[0].layer
        plan, named = self.plan(group, context)
        if context.flows_in_float and (plan.behind or plan.refusal or plan.fused == "hard_sigmoid"):
            rest = [
                keras.layers.Activation(named.activation, name=named.name)
                if named is head
                else clone_layer(named)
            ]
            fused, factor = "linear", 1.0
        else:
            rest = plan.behind(named.name, context) if plan.behind else []
            fused, factor = plan.fused, plan.factor
        stock = self.stock_layer(
            group, {"activation": "linear", **self.changes(group, context), **changes}
        )
        normalization = None
        for call in self.behind(group):
            if isinstance(call.layer, keras.layers.BatchNormalization):
                normalization = clone_layer(plain_normalization(call))
            elif isinstance(call.layer, LayerScale):
                stock, normalization = _scaled(stock, normalization, call.layer.gamma)
            elif isinstance(call.layer, keras.layers.Rescaling):
                factor = factor * call.layer.scale
        operator = self.quantized(
            stock,
            normalization,
            fused,
            weights=self.weights(group, context),
            activations=context.recipe.outputs,
            inputs=context.input_scheme(group[0]),
            factor=factor,
            name=f"{head.name}_{plan.suffix}" if rest and named is head else head.name,
        )
        return [operator, *rest]


@register_rule(keras.layers.Conv2D)
class Conv2DRule(WeightedRule):
    """Conv2D, channels last, groups included."""

    quantized = layers.QuantizedConv2D

    def changes(self, group, context):
        layer = group[0].layer
        require_channels_last(layer)
        if tuple(layer.dilation_rate) != (1, 1) and tuple(layer.strides) != (1, 1):
            raise Unsupported("strides together with dilation are not computed by TFLite.")
        return {}


@register_rule(keras.layers.DepthwiseConv2D)
class DepthwiseConv2DRule(Conv2DRule):
    """DepthwiseConv2D, channels last, any depth multiplier; dense, its input dimension is 1."""

    quantized = layers.QuantizedDepthwiseConv2D

    def weights(self, group, context):
        scheme = super().weights(group, context)
        return dataclasses.replace(scheme, sparsity=None, sparsity_ramp=0)


@register_rule(keras.layers.Conv2DTranspose, keras.layers.SeparableConv2D)
class NoConvolutionRule(Rule):
    """Subclasses of Conv2D's base that the rule of Conv2D must not be taken for."""

    def build(self, group, context):
        raise Unsupported("this kind of convolution has no rule yet.")


@register_rule(keras.layers.Dense)
class DenseRule(WeightedRule):
    """Dense on 2-D inputs; one scale, as runtimes before 2.17 and the Edge TPU demand."""

    quantized = layers.QuantizedDense
    # A normalization has a factor a channel, the device one scale for all of them.
    absorbs_factors = False

    def granularity(self, context):
        return context.target.dense_granularity

    def changes(self, group, context):
        rank = len(group[0].inputs[0].shape)
        if rank != 2:
            raise Unsupported(
                f"Dense on an input of {rank} dimensions has no rule yet; flatten it, or use a "
                "1×1 Conv2D."
            )
        return {}


def plain_normalization(call):
    """The batch normalization of a call, refused where it is not the plain one that folds."""
    layer = call.layer
    rank = len(call.inputs[0].shape)
    axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
    if axis not in (-1, rank - 1):
        raise Unsupported(f"{layer.name!r} normalizes dimension {axis}; only the last folds.")
    if getattr(layer, "renorm", False):
        raise Unsupported(f"{layer.name!r} uses batch renormalization, which has no rule.")
    return layer


def _scaled(stock, normalization, gamma):
    """The layer and its normalization with a factor a channel multiplied in."""
    if normalization is None:
        kernel = ops.reshape(gamma, (-1,)) * stock.kernel
        stock.kernel.assign(kernel)
        if stock.use_bias:
            stock.bias.assign(stock.bias * gamma)
        return stock, None
    wide = normalization if normalization.scale else _with_gamma(normalization)
    wide.gamma.assign(wide.gamma * gamma)
    if wide.center:
        wide.beta.assign(wide.beta * gamma)
    return stock, wide


def _with_gamma(normalization):
    """A batch normalization without γ as one with γ = 1."""
    wide = type(normalization).from_config({**normalization.get_config(), "scale": True})
    wide.build(normalization.get_build_config()["input_shape"])
    former = {weight.name: weight for weight in normalization.weights}
    for weight in wide.weights:
        if weight.name in former:
            weight.assign(former[weight.name])
    wide.trainable = normalization.trainable
    return wide
