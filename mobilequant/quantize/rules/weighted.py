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

    def absorbs(self, group, following, context):
        head = group[0].layer
        if context.graph.is_shared(following) or not self.is_bare(head):
            return False
        behind = [call.layer for call in self.behind(group)]
        if any(plan_of(layer) is not None for layer in behind):
            return False
        layer = following.layer
        if isinstance(layer, keras.layers.BatchNormalization):
            return not behind
        if isinstance(layer, LayerScale):
            return not any(isinstance(b, LayerScale) for b in behind)
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

    def options(self, group) -> dict:
        """Further arguments of the quantized layer."""
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
            **self.options(group),
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
        dilated = any(rate > 1 for rate in _each(layer.dilation_rate))
        if dilated and any(stride > 1 for stride in _each(layer.strides)):
            raise Unsupported("strides together with dilation are not computed by TFLite.")
        if getattr(layer, "groups", 1) > 1 and context.target.operators["CONV_2D"] < 6:
            raise Unsupported(
                f"a convolution in {layer.groups} groups, which target {context.target.name!r} "
                "does not run; use a DepthwiseConv2D and a 1×1 Conv2D."
            )
        return {}


@register_rule(keras.layers.DepthwiseConv2D)
class DepthwiseConv2DRule(Conv2DRule):
    """DepthwiseConv2D, channels last, any depth multiplier; dense, its input dimension is 1."""

    quantized = layers.QuantizedDepthwiseConv2D

    def weights(self, group, context):
        return _dense(super().weights(group, context))


class _CausalRule(Conv2DRule):
    """Convolutions over one dimension; "causal" ones are a zero padding and a "valid" one."""

    def build(self, group, context, **changes):
        layer = group[0].layer
        context.require("RESHAPE")
        if layer.padding != "causal":
            return super().build(group, context, **changes)
        (kernel,), (dilation,) = _each(layer.kernel_size), _each(layer.dilation_rate)
        padding = keras.layers.ZeroPadding1D(
            ((kernel - 1) * dilation, 0), name=f"{layer.name}_padding"
        )
        return [padding, *super().build(group, context, **changes, padding="valid")]


@register_rule(keras.layers.Conv1D)
class Conv1DRule(_CausalRule):
    """Conv1D, channels last, groups included."""

    quantized = layers.QuantizedConv1D


@register_rule(keras.layers.DepthwiseConv1D)
class DepthwiseConv1DRule(_CausalRule):
    """DepthwiseConv1D; as `DepthwiseConv2DRule`."""

    quantized = layers.QuantizedDepthwiseConv1D

    def weights(self, group, context):
        return _dense(super().weights(group, context))


class _SeparableRule(Conv2DRule):
    """A depthwise operator and a 1×1 convolution, which absorbs what follows."""

    depthwise: tuple = ()
    pointwise: type = None

    def stock_layer(self, group, changes):
        layer = group[0].layer
        stock = self.pointwise(
            layer.filters,
            1,
            use_bias=layer.use_bias,
            kernel_initializer=layer.pointwise_initializer,
            bias_initializer=layer.bias_initializer,
            kernel_regularizer=layer.pointwise_regularizer,
            bias_regularizer=layer.bias_regularizer,
            kernel_constraint=layer.pointwise_constraint,
            bias_constraint=layer.bias_constraint,
            name=layer.name,
        )
        stock.build((*(None,) * (layer.rank + 1), layer.pointwise_kernel.shape[-2]))
        stock.kernel.assign(layer.pointwise_kernel)
        if layer.use_bias:
            stock.bias.assign(layer.bias)
        stock.trainable = layer.trainable
        return stock

    def build(self, group, context, **changes):
        call = group[0]
        scheme = context.input_scheme(call)
        made, quantized = self.depthwise
        first = quantized(
            _depthwise_part(call.layer, made),
            weights=_dense(self.weights(group, context)),
            activations=context.recipe.outputs,
            inputs=scheme,
            name=f"{call.layer.name}_depthwise",
        )
        return [first, *super().build(group, context)]


@register_rule(keras.layers.SeparableConv2D)
class SeparableConv2DRule(_SeparableRule):
    """SeparableConv2D, channels last."""

    depthwise = keras.layers.DepthwiseConv2D, layers.QuantizedDepthwiseConv2D
    pointwise = keras.layers.Conv2D
    quantized = layers.QuantizedConv2D


@register_rule(keras.layers.SeparableConv1D)
class SeparableConv1DRule(_SeparableRule):
    """SeparableConv1D, channels last."""

    depthwise = keras.layers.DepthwiseConv1D, layers.QuantizedDepthwiseConv1D
    pointwise = keras.layers.Conv1D
    quantized = layers.QuantizedConv1D


@register_rule(keras.layers.Conv2DTranspose)
class Conv2DTransposeRule(WeightedRule):
    """Conv2DTranspose, channels last."""

    quantized = layers.QuantizedConv2DTranspose

    def changes(self, group, context):
        layer = group[0].layer
        require_channels_last(layer)
        context.require("TRANSPOSE_CONV")
        if any(rate > 1 for rate in _each(layer.dilation_rate)):
            raise Unsupported("dilation of a transposed convolution; TFLite's has none.")
        if layer.output_padding is not None and any(_each(layer.output_padding)):
            raise Unsupported("output_padding; leave it out, and put a ZeroPadding behind.")
        pairs = list(zip(_each(layer.kernel_size), _each(layer.strides), strict=True))
        if any(kernel < stride for kernel, stride in pairs):
            raise Unsupported(
                f"a kernel of {layer.kernel_size} with strides of {layer.strides} leaves gaps, "
                "which LiteRT computes otherwise than Keras; use a kernel as large as the strides."
            )
        return {}


@register_rule(keras.layers.Conv1DTranspose)
class Conv1DTransposeRule(Conv2DTransposeRule):
    """Conv1DTranspose, channels last."""

    quantized = layers.QuantizedConv1DTranspose


@register_rule(keras.layers.Dense)
class DenseRule(WeightedRule):
    """Dense on inputs of any rank; one scale, as runtimes before 2.17 and the Edge TPU demand.

    What differs from channel to channel does not fold into one scale: with a batch normalization
    or a layer scale behind it, a Dense layer is a 1×1 convolution on the device.
    """

    quantized = layers.QuantizedDense

    def absorbs(self, group, following, context):
        by_channel = isinstance(following.layer, (keras.layers.BatchNormalization, LayerScale))
        if by_channel and context.flows_in_float:
            return False
        return super().absorbs(group, following, context)

    def as_convolution(self, group):
        """Whether something behind it differs from channel to channel."""
        kinds = (keras.layers.BatchNormalization, LayerScale)
        return any(isinstance(call.layer, kinds) for call in self.behind(group))

    def weights(self, group, context):
        scheme = super().weights(group, context)
        if scheme.granularity != "channel" or not context.recipe.outputs.on_device_grid:
            return scheme
        target = context.target
        granularity = (
            target.convolution_granularity
            if self.as_convolution(group)
            else target.dense_granularity
        )
        return dataclasses.replace(scheme, granularity=granularity)

    def granularity(self, context):
        return "channel"

    def changes(self, group, context):
        if self.as_convolution(group):
            context.require("CONV_2D", "RESHAPE")
        return {}

    def options(self, group):
        return {"as_convolution": True} if self.as_convolution(group) else {}


def _each(sizes):
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def _dense(scheme):
    """The scheme of depthwise kernels: nothing to leave out of an input dimension of 1."""
    return dataclasses.replace(scheme, sparsity=None, sparsity_ramp=0)


def _depthwise_part(layer, kind):
    """The depthwise half of a separable convolution, without bias."""
    stock = kind(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
        depthwise_initializer=layer.depthwise_initializer,
        depthwise_regularizer=layer.depthwise_regularizer,
        depthwise_constraint=layer.depthwise_constraint,
        name=f"{layer.name}_depthwise",
    )
    stock.build((*(None,) * (layer.rank + 1), layer.depthwise_kernel.shape[-2]))
    stock.kernel.assign(layer.depthwise_kernel)
    stock.trainable = layer.trainable
    return stock


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
