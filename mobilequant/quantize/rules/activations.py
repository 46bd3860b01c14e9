"""What each activation function becomes: fused into the operator before it, or layers behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras

from mobilequant import layers
from mobilequant.quantize.rules.registry import Context


@dataclasses.dataclass(frozen=True)
class Plan:
    """How an operator with weights is followed by an activation.

    Attributes:
        fused: Key of `layers.folded.FUSED_ACTIVATIONS`: what the operator itself computes.
        factor: What the operator's output is multiplied by, for the layers that follow.
        behind: From (name, context) to the layers behind the operator.
        suffix: Of the operator's name, where the layers behind it take the name of the whole.
        operators: What the device must run.
    """

    fused: str = "linear"
    factor: float = 1.0
    behind: Callable[[str, Context], list] | None = None
    suffix: str = "linear"
    operators: tuple[str, ...] = ()


def plan_of(layer) -> Plan | None:
    """The plan of an activation layer, or None if it is no such layer."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        if plain and layer.max_value is None:
            return PLANS["relu"]
        return PLANS["relu6"] if plain and float(layer.max_value) == 6.0 else None
    if isinstance(layer, keras.layers.Activation):
        return plan_of_function(layer.activation)
    return None


def plan_of_function(function) -> Plan | None:
    """The plan of an activation function, or None if there is none."""
    return PLANS.get(_NAMES.get(function))


def _softmax(name, context):
    return [layers.QuantizedSoftmax(activations=context.recipe.outputs, name=name)]


def _hard_swish(name, context):
    return [layers.QuantizedHardSwish(True, activations=context.recipe.outputs, name=name)]


def _function(kind):
    def behind(name, context):
        outputs = context.recipe.outputs
        return [layers.QuantizedFunction(kind, activations=outputs, name=name)]

    return behind


_NAMES = {
    keras.activations.linear: "linear",
    keras.activations.relu: "relu",
    keras.activations.relu6: "relu6",
    keras.activations.hard_sigmoid: "hard_sigmoid",
    keras.activations.hard_silu: "hard_silu",
    keras.activations.gelu: "gelu",
    keras.activations.softmax: "softmax",
}

#: By name of the Keras function.
PLANS = {
    "linear": Plan("linear"),
    "relu": Plan("relu"),
    "relu6": Plan("relu6"),
    "hard_sigmoid": Plan("hard_sigmoid"),
    "hard_silu": Plan(
        factor=layers.HARD_SWISH_FACTOR, behind=_hard_swish, operators=("ADD", "MUL")
    ),
    "gelu": Plan(behind=_function("GELU"), operators=("GELU",)),
    "softmax": Plan(behind=_softmax, suffix="logits", operators=("SOFTMAX",)),
}
