"""What a rule is, what it may look at, and how it is found."""

from __future__ import annotations

import dataclasses

import keras

from mobilequant.quantize.graph import Call, ModelGraph
from mobilequant.quantize.recipe import Recipe
from mobilequant.quantize.rules.roles import WEIGHTED, roles_of
from mobilequant.quantizers import Scheme
from mobilequant.targets import Target


class Unsupported(Exception):
    """A rule cannot quantize a call; the message says what is wrong and what to do."""


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
        return [call.layer for call in self.graph.calls if isinstance(call.layer, WEIGHTED)]

    @property
    def flows_in_float(self) -> bool:
        """Whether only what layers with weights take is quantized, and the rest is float."""
        return not self.recipe.outputs.quantized

    def recipe_of(self, call: Call) -> Recipe:
        """The recipe of a call with weights: its name and its roles may have one of their own."""
        return self.recipe.of(call.layer.name, roles_of(call, self.graph, self.weighted))

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

    def require(self, *operators: str) -> None:
        """Raises `Unsupported` unless the target runs all of these operators."""
        missing = [kind for kind in operators if kind not in self.target.operators]
        if missing:
            raise Unsupported(
                f"target {self.target.name!r} does not run {' and '.join(missing)}, which this "
                "layer needs."
            )


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


def require_channels_last(layer):
    """Refuses a layer that has its channels first."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise Unsupported("data_format 'channels_first'; TFLite computes 'channels_last'.")


def name_of(function) -> str:
    """A function as error messages quote it."""
    return repr(getattr(function, "__name__", str(function)))
