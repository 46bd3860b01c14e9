"""What an activation function becomes: fused into the operator before it, or layers of its own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import keras

from mobilequant import layers
from mobilequant.layers.functions import gelu_by_tanh
from mobilequant.quantize.rules.registry import Context

#: From (name, context) to layers, called one after the other.
Builder = Callable[[str, Context], list]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How an activation is computed.

    Attributes:
        fused: Key of `layers.folded.FUSED_ACTIVATIONS`: what an operator with weights before it
            computes by itself.
        factor: What that operator's output is multiplied by, for the layers that follow.
        behind: The layers behind that operator, where it does not do all by itself.
        suffix: Of that operator's name, where the layers behind it take the name of the whole.
        alone: The layers behind anything else; by default those of `behind`.
        refusal: Why it cannot be computed, and what to use instead; `fused` is empty then.
    """

    fused: str = "linear"
    factor: float = 1.0
    behind: Builder | None = None
    suffix: str = "linear"
    alone: Builder | None = None
    refusal: str | None = None


def plan_of(layer) -> Plan | None:
    """The plan of an activation layer, or None if it is no such layer."""
    if isinstance(layer, keras.layers.ReLU):
        return _relu(layer.negative_slope, layer.max_value, layer.threshold)
    if isinstance(layer, keras.layers.LeakyReLU):
        return _leaky_relu(layer.negative_slope)
    if isinstance(layer, keras.layers.ELU):
        return _elu(layer.alpha)
    if isinstance(layer, keras.layers.Activation):
        return plan_of_function(layer.activation)
    return None


def plan_of_function(function) -> Plan | None:
    """The plan of an activation function, or None if there is none.

    Args:
        function: Of `keras.activations`, or a `functools.partial` of one with keyword arguments.
    """
    if isinstance(function, functools.partial) and not function.args:
        makes = _WITH_ARGUMENTS.get(function.func)
        return makes(**function.keywords) if makes else None
    if function is gelu_by_tanh:
        return _gelu(approximate=True)
    return PLANS.get(_NAMES.get(function))


def known() -> str:
    """The names of all activation functions that can be computed."""
    return ", ".join(name for name, plan in PLANS.items() if plan.refusal is None)


def _layer(make, *operators) -> Builder:
    """Builder of the one layer that `make` gives, which is these operators."""

    def build(name, context):
        context.require(*operators)
        return [make(activations=context.recipe.outputs, name=name)]

    return build


def _refused(reason) -> Plan:
    return Plan(fused="", refusal=reason)


def _function(kind, options=None, highest=None) -> Plan:
    make = functools.partial(layers.QuantizedFunction, kind, options, highest)
    return Plan(behind=_layer(make, kind))


def _clip(highest=None) -> Builder:
    return _layer(functools.partial(layers.QuantizedReLU, highest), "QUANTIZE")


def _relu(negative_slope=0.0, max_value=None, threshold=0.0) -> Plan:
    highest = None if max_value is None else float(max_value)
    if threshold:
        make = functools.partial(
            layers.QuantizedThresholdedReLU, float(threshold), float(negative_slope), highest
        )
        return Plan(behind=_layer(make, "ADD", "MUL", *(["SUB"] if negative_slope else [])))
    if negative_slope:
        return _leaky_relu(negative_slope, highest)
    if highest is None:
        return PLANS["relu"]
    return PLANS["relu6"] if highest == 6.0 else Plan(behind=_clip(highest))


def _leaky_relu(negative_slope=0.2, highest=None) -> Plan:
    return _function("LEAKY_RELU", {"alpha": float(negative_slope)}, highest)


def _elu(alpha=1.0) -> Plan:
    if float(alpha) == 1.0:
        return PLANS["elu"]
    if float(alpha) <= 0.0:
        return _refused(f"an ELU with alpha {float(alpha):g}; use one above 0.")
    make = functools.partial(layers.QuantizedScaledELU, float(alpha))
    return Plan(behind=_layer(make, "ELU", "MUL", "QUANTIZE", "ADD"))


def _gelu(approximate=False) -> Plan:
    return _function("GELU", {"approximate": bool(approximate)})


def _softmax(axis=-1) -> Plan:
    def build(name, context):
        context.require("SOFTMAX", *(["TRANSPOSE"] if axis != -1 else []))
        return [layers.QuantizedSoftmax(axis, activations=context.recipe.outputs, name=name)]

    return Plan(behind=build, suffix="logits")


def _hard_swish(prescaled) -> Builder:
    return _layer(functools.partial(layers.QuantizedHardSwish, prescaled), "ADD", "MUL")


#: By name of the Keras function.
PLANS = {
    "linear": Plan("linear", alone=lambda name, context: [keras.layers.Identity(name=name)]),
    "relu": Plan("relu", alone=_clip()),
    "relu6": Plan("relu6", alone=_clip(6.0)),
    "leaky_relu": _leaky_relu(),
    "elu": _function("ELU"),
    "gelu": _gelu(),
    "silu": Plan(behind=_layer(layers.QuantizedSilu, "LOGISTIC", "MUL")),
    "hard_silu": Plan(
        factor=layers.HARD_SWISH_FACTOR, behind=_hard_swish(True), alone=_hard_swish(False)
    ),
    "hard_sigmoid": Plan("hard_sigmoid", alone=_layer(layers.QuantizedHardSigmoid, "MUL", "ADD")),
    "sigmoid": _function("LOGISTIC"),
    "tanh": _function("TANH"),
    "softmax": _softmax(),
    "softplus": Plan(
        behind=_layer(layers.QuantizedSoftplus, "ABS", "LOGISTIC", "LOG", "QUANTIZE", "SUB")
    ),
}

_NAMES = {getattr(keras.activations, name): name for name in PLANS}

_WITH_ARGUMENTS = {
    keras.activations.relu: _relu,
    keras.activations.leaky_relu: _leaky_relu,
    keras.activations.elu: _elu,
    keras.activations.gelu: _gelu,
    keras.activations.softmax: _softmax,
}
