"""One rule a layer kind: how a stock layer, with those it absorbs, becomes a quantized one.

Supporting a layer is one small `Rule` and its registration, never an edit of what runs the rules.
"""

from __future__ import annotations

import dataclasses

import keras

from mobilequant import layers
from mobilequant.layers.base import GRID_PRESERVING
from mobilequant.quantize.graph import Call, ModelGraph
from mobilequant.quantize.recipe import Recipe
from mobilequant.quantizers import Scheme
from mobilequant.targets import Target


@dataclasses.dataclass(frozen=True)
class Context:
    """What a rule may look at besides the calls.

    Attributes:
        graph: The float model.
        recipe: What the user asked for.
        target: What the device demands.
    """

    graph: ModelGraph
    recipe: Recipe
    target: Target

    @property
    def weighted(self) -> list:
        """The layers with a kernel, in order."""
        return [call.layer for call in self.graph.calls if isinstance(call.layer, _WEIGHTED)]

    def recipe_of(self, call: Call) -> Recipe:
        """The recipe of a call with weights: its name and its roles may have one of their own."""
        weighted = self.weighted
        roles = [
            role
            for role, holds in (
                ("first", call.layer is weighted[0]),
                ("last", call.layer is weighted[-1]),
                ("depthwise", isinstance(call.layer, keras.layers.DepthwiseConv2D)),
                ("dense", isinstance(call.layer, keras.layers.Dense)),
            )
            if holds
        ]
        return self.recipe.of(call.layer.name, roles)

    def input_scheme(self, call: Call) -> Scheme | None:
        """How what a call with weights takes is quantized, where that is not how it comes."""
        scheme = self.recipe_of(call).activations
        if not scheme.quantized:
            return None
        if scheme.on_device_grid:
            (tensor,) = call.inputs
            is_image = any(tensor is image for image in self.graph.inputs)
            if is_image or self.recipe.outputs.on_device_grid:
                return None
        return scheme


#: Layers with a kernel, in whose order the first and the last stand out.
_WEIGHTED = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


class Unsupported(Exception):
    """A rule cannot quantize a call; the message says what is wrong and what to do."""


class Rule:
    """How one kind of layer is quantized. Subclass, implement `build`, register.

    A rule sees a *group*: the call of its layer and those that `absorbs` added behind it.
    """

    def absorbs(self, group: list[Call], following: Call, context: Context) -> bool:
        """Whether `following`, the only consumer of the group's output, becomes part of it."""
        return False

    def build(self, group: list[Call], context: Context) -> list:
        """Returns the new layers, called one after the other in place of the group.

        They must be built with the stock layers' weights in them: a layer taken over whole keeps
        its variables. Raise `Unsupported` with a sentence where it cannot be done.
        """
        raise NotImplementedError


_RULES: dict[type, Rule] = {}


def register_rule(*layer_types):
    """Class decorator: the rule for these layer types (and for their subclasses without one).

    Example:
        @mq.register_rule(MyConvolution)
        class MyRule(mq.Rule):
            def build(self, group, context): ...
    """

    def register(rule_class):
        rule = rule_class()
        for layer_type in layer_types:
            _RULES[layer_type] = rule
        return rule_class

    return register


def find_rule(layer) -> Rule | None:
    """The rule of the layer's class, or of the nearest base class that has one."""
    for kind in type(layer).__mro__:
        if kind in _RULES:
            return _RULES[kind]
    return None


def clone_layer(layer, **changes):
    """A copy of a stock layer, weights included, with changes to its configuration."""
    config = {**layer.get_config(), **changes}
    copy = type(layer).from_config(config)
    if layer.built and layer.weights:
        copy.build(layer.get_build_config()["input_shape"])
        copy.set_weights(layer.get_weights())
    copy.trainable = layer.trainable
    return copy


def activation_name(layer) -> str | None:
    """Name in `FUSED_ACTIVATIONS` of an activation layer, or None if it is no such one."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        if plain and layer.max_value is None:
            return "relu"
        return "relu6" if plain and float(layer.max_value) == 6.0 else None
    if isinstance(layer, keras.layers.Activation):
        return function_name(layer.activation)
    return None


def function_name(function) -> str | None:
    """Name in `FUSED_ACTIVATIONS` of an activation function."""
    return {
        keras.activations.linear: "linear",
        keras.activations.relu: "relu",
        keras.activations.relu6: "relu6",
    }.get(function)


class WeightedRule(Rule):
    """Operators with a kernel absorb batch normalization and one activation."""

    quantized: type = None
    absorbs_normalization = True

    def absorbs(self, group, following, context):
        head, last = group[0].layer, group[-1].layer
        if context.graph.is_shared(following):
            return False
        bare = function_name(head.activation) == "linear"
        if isinstance(following.layer, keras.layers.BatchNormalization):
            return self.absorbs_normalization and bare and last is head
        if activation_name(following.layer) is None or not bare:
            return False
        return all(activation_name(call.layer) is None for call in group[1:])

    def demanded(self, context) -> str:
        """What shares a scale on the target, "tensor" or "channel"."""
        return context.target.convolution_granularity

    def weights(self, group, context) -> Scheme:
        """The scheme of the kernel: what the recipe asks, no finer than the target takes."""
        recipe = context.recipe_of(group[0])
        scheme = recipe.weights
        # Blocks and what is not for a device anyway are left as they were asked for.
        if scheme.granularity == "channel" and recipe.outputs.on_device_grid:
            return dataclasses.replace(scheme, granularity=self.demanded(context))
        return scheme

    def changes(self, group, context) -> dict:
        """Changes to the stock layer's configuration; refuses what the operator cannot do."""
        return {}

    def build(self, group, context, **changes):
        """As `Rule.build`; `changes` go into the stock layer's configuration."""
        head = group[0].layer
        changes = {"activation": "linear", **self.changes(group, context), **changes}
        activation = function_name(head.activation)
        softmax = head.activation is keras.activations.softmax
        if activation is None and not softmax:
            raise Unsupported(
                f"activation {_describe(head.activation)} has no rule; linear, relu, relu6 and "
                "softmax have."
            )
        normalization = None
        for call in group[1:]:
            if isinstance(call.layer, keras.layers.BatchNormalization):
                normalization = clone_layer(_plain_normalization(call))
            else:
                activation = activation_name(call.layer)
        operator = self.quantized(
            clone_layer(head, **changes),
            normalization,
            "linear" if softmax else activation,
            weights=self.weights(group, context),
            activations=context.recipe.outputs,
            inputs=context.input_scheme(group[0]),
            name=f"{head.name}_logits" if softmax else head.name,
        )
        if not softmax:
            return [operator]
        return [
            operator,
            layers.QuantizedSoftmax(activations=context.recipe.outputs, name=head.name),
        ]


@register_rule(keras.layers.Conv2D)
class Conv2DRule(WeightedRule):
    """Conv2D, channels last, groups included."""

    quantized = layers.QuantizedConv2D

    def changes(self, group, context):
        layer = group[0].layer
        _require_channels_last(layer)
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
    absorbs_normalization = False

    def demanded(self, context):
        return context.target.dense_granularity

    def changes(self, group, context):
        rank = len(group[0].inputs[0].shape)
        if rank != 2:
            raise Unsupported(
                f"Dense on an input of {rank} dimensions has no rule yet; flatten it, or use a "
                "1×1 Conv2D."
            )
        return {}


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
            and not context.graph.is_shared(following)
            and following.layer.padding == "valid"
            and _amounts_to_same(group[0], following)
        )

    def build(self, group, context):
        _require_channels_last(group[0].layer)
        if len(group) == 1:
            return [clone_layer(group[0].layer)]
        return find_rule(group[1].layer).build(group[1:], context, padding="same")


@register_rule(keras.layers.Add)
class AddRule(Rule):
    """Addition of two tensors of one shape; absorbs a ReLU."""

    def absorbs(self, group, following, context):
        shared = context.graph.is_shared(following)
        return len(group) == 1 and not shared and activation_name(following.layer) is not None

    def build(self, group, context):
        call = group[0]
        shapes = [tuple(tensor.shape) for tensor in call.inputs]
        if len(shapes) != 2 or shapes[0] != shapes[1]:
            raise Unsupported(f"only two tensors of one shape are added, not {shapes}.")
        activation = activation_name(group[1].layer) if len(group) > 1 else "linear"
        return [
            layers.QuantizedAdd(
                activation, activations=context.recipe.outputs, name=call.layer.name
            )
        ]


@register_rule(keras.layers.GlobalAveragePooling2D)
class GlobalAveragePooling2DRule(Rule):
    """The mean over height and width."""

    def build(self, group, context):
        layer = group[0].layer
        _require_channels_last(layer)
        return [
            layers.QuantizedGlobalAveragePooling2D(
                layer.keepdims, activations=context.recipe.outputs, name=layer.name
            )
        ]


@register_rule(keras.layers.Softmax, keras.layers.Activation)
class ActivationRule(Rule):
    """Softmax as a layer. Other activations are absorbed by the layer before them."""

    def build(self, group, context):
        layer = group[0].layer
        activation = getattr(layer, "activation", None)
        is_softmax = isinstance(layer, keras.layers.Softmax)
        if activation is keras.activations.linear:
            return [keras.layers.Identity(name=layer.name)]
        if not is_softmax and activation is not keras.activations.softmax:
            raise Unsupported(
                f"activation {_describe(activation)} has no rule here; relu and relu6 directly "
                "behind a convolution, a Dense or an Add layer have."
            )
        rank = len(group[0].inputs[0].shape)
        if is_softmax and layer.axis not in (-1, rank - 1):
            raise Unsupported(f"softmax over dimension {layer.axis}; only over the last.")
        return [layers.QuantizedSoftmax(activations=context.recipe.outputs, name=layer.name)]


@register_rule(*(kind for kind in GRID_PRESERVING if kind is not keras.layers.ZeroPadding2D))
class KeepRule(Rule):
    """Layers that move or drop values and keep the grid: taken over as they are."""

    def build(self, group, context):
        return [clone_layer(group[0].layer)]


def _plain_normalization(call):
    layer = call.layer
    rank = len(call.inputs[0].shape)
    axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
    if axis not in (-1, rank - 1):
        raise Unsupported(f"{layer.name!r} normalizes dimension {axis}; only the last folds.")
    if getattr(layer, "renorm", False):
        raise Unsupported(f"{layer.name!r} uses batch renormalization, which has no rule.")
    return layer


def _require_channels_last(layer):
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise Unsupported("data_format 'channels_first'; TFLite computes 'channels_last'.")


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


def _describe(activation):
    return repr(getattr(activation, "__name__", str(activation)))
