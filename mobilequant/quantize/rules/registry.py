"""What a rule is, what it may look at, and how it is found."""

from __future__ import annotations

import dataclasses

import keras

from mobilequant.quantize.alternatives import INSTEAD
from mobilequant.quantize.graph import Call, Graph
from mobilequant.quantize.recipe import Recipe
from mobilequant.quantize.rules.roles import WEIGHTED, roles_of
from mobilequant.quantizers import Scheme
from mobilequant.targets import Target


class Unsupported(Exception):
    """A rule cannot quantize a call; the message says what is wrong and what to do.

    Attributes:
        operators: Those that the target does not run, where that is the reason.
    """

    def __init__(self, message: str, operators: tuple[str, ...] = ()):
        super().__init__(message)
        self.operators = operators


@dataclasses.dataclass(frozen=True)
class Context:
    """What a rule may look at besides the calls.

    Attributes:
        graph: The float model.
        recipe: What the user asked for.
        target: What the device demands.
    """

    graph: Graph
    recipe: Recipe
    target: Target

    @property
    def weighted(self) -> list:
        """The layers with a kernel, in order."""
        return [call.layer for call in self.graph.calls if isinstance(call.layer, WEIGHTED)]

    @property
    def weighted_names(self) -> list[str]:
        """Their names and those of attentions, as `Recipe.overrides` means them."""
        kinds = (*WEIGHTED, keras.layers.MultiHeadAttention)
        calls = [call for call in self.graph.calls if isinstance(call.layer, kinds)]
        return list(dict.fromkeys(call.name for call in calls))

    @property
    def flows_in_float(self) -> bool:
        """Whether only what layers with weights take is quantized, and the rest is float."""
        return not self.recipe.outputs.quantized

    def recipe_of(self, call: Call) -> Recipe:
        """The recipe of a call with weights: its name and its roles may have one of their own."""
        return self.recipe.of(call.name, roles_of(call, self.graph, self.weighted))

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
        missing = tuple(kind for kind in operators if kind not in self.target.operators)
        if missing:
            instead = [INSTEAD[kind] for kind in missing if kind in INSTEAD]
            raise Unsupported(
                f"target {self.target.name!r} does not run {' and '.join(missing)}, which this "
                f"layer needs{''.join(f'; {text}' for text in dict.fromkeys(instead))}.",
                missing,
            )


class Rule:
    """How one kind of layer is quantized. Subclass, implement `build`, register.

    A rule sees a *group*: the call of its layer and those that `absorbs` added behind it. See
    `register_rule` for an example.
    """

    def absorbs(self, group: list[Call], following: Call, context: Context) -> bool:
        """Whether `following`, the only consumer of the group's output, becomes part of it.

        A call for which `context.graph.is_shared` holds must stay outside.
        """
        return False

    def build(self, group: list[Call], context: Context) -> list:
        """Returns the new layers, called one after the other in place of the group.

        The first is called on the tensors that the group takes, each of the others on what the
        one before it gives. The last should have the name of the stock layer whose output it
        gives: names of tensors in the file are those of the layers. Stock layers in them must
        hold the weights (`clone_layer`). Raise `Unsupported` with a sentence where it cannot be
        done; `quantize` collects these for its error.
        """
        raise NotImplementedError


_RULES: dict[type, Rule] = {}


def register_rule(*layer_types):
    """Class decorator: the rule for these layer types (and for their subclasses without one).

    `quantize` finds the rule of a layer by its class, then by its base classes, and of several
    rules for one class the last one registered: so you can teach it a layer of your own, and
    overrule what it does with a stock one. A rule turns a layer into quantized ones; most need no
    more than to say which of `mobilequant.layers` computes the same:

        class Excite(keras.layers.Multiply):
            pass

        @mq.register_rule(Excite)
        class ExciteRule(mq.Rule):
            def build(self, group, context):
                call = group[0]
                if len(call.inputs) != 2:
                    raise mq.Unsupported("takes one tensor and one gate.")
                context.require("MUL")
                return [
                    mq.layers.QuantizedMultiply(
                        activations=context.recipe.outputs, name=call.layer.name
                    )
                ]

    A layer with weights goes, with them, into the quantized layer: a layer derived from
    `keras.layers.Conv2D` that computes what its base does needs no rule, and one that computes
    something else gives `mq.layers.QuantizedConv2D(mq.clone_layer(stock), weights=…)` of a stock
    `keras.layers.Conv2D` that means the same. An arithmetic that no such layer has is a class
    derived from `mq.layers.QuantizedLayer`: its training form, its integer form and its frozen
    form are the three methods to write.

    Args:
        layer_types: Subclasses of `keras.layers.Layer` or of `keras.Operation`.
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
    """A copy of a stock layer in float32, weights included.

    Args:
        layer: The stock layer.
        changes: To its configuration.
    """
    config = {**layer.get_config(), **changes}
    if "dtype" in config:
        # Variables of a mixed policy are float32: the copy computes as exactly as they are.
        config["dtype"] = "float32"
    copy = type(layer).from_config(config)
    if layer.built and layer.weights:
        copy.build_from_config(layer.get_build_config())
        copy.set_weights(layer.get_weights())
    _set_trainable(copy, layer)
    return copy


def _set_trainable(copy, layer):
    copy.trainable = layer.trainable
    pairs = zip(copy._flatten_layers(False), layer._flatten_layers(False), strict=True)
    for part, original in pairs:
        part.trainable = original.trainable


def require_channels_last(layer):
    """Refuses a layer that has its channels first."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise Unsupported("data_format 'channels_first'; TFLite computes 'channels_last'.")


def name_of(function) -> str:
    """A function as error messages quote it."""
    return repr(getattr(function, "__name__", str(function)))
