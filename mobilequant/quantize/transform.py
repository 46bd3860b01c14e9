"""`quantize`: a float Keras model in, a quantized Keras model out.

The stages: read the graph, nested models opened; turn operations into the layers that mean the
same; group calls that become one operator; let the rules build the new layers; and connect these
as the old ones were.
"""

from __future__ import annotations

import fnmatch

import keras
import numpy as np

from mobilequant import targets
from mobilequant.layers.base import QuantizedLayer
from mobilequant.quantize import recipe as recipes
from mobilequant.quantize.connecting import connect
from mobilequant.quantize.graph import flat_graph
from mobilequant.quantize.grouping import group_calls
from mobilequant.quantize.operations import as_layers
from mobilequant.quantize.precision import in_float32
from mobilequant.quantize.replacements import build_replacements
from mobilequant.quantize.rules import Context
from mobilequant.quantize.stand_ins import with_stand_ins


def quantize(model, recipe="w8a8", *, target="phone", estimator=None, leave_float=(), name=None):
    """Returns a quantized copy of a Keras model; the model itself stays as it is.

    The result is a flat functional `keras.Model` with the same inputs, outputs and weights. Train
    it with `fit` (or set its ranges from data with `mobilequant.calibrate`), save and load it as
    any model, and turn it into a file with `tflite_tools.convert`.

    Nested models are opened: their layers keep their names, with that of the nested model before
    it where another layer has the same. Of a layer that is called several times each call gets
    ranges of its own and a name with a number; the weights stay shared. Operators and
    `keras.ops` in the graph become the layers that mean the same.

    Args:
        model: A functional or Sequential Keras 3 model, built, channels last, with float32
            variables. A model of mixed precision is quantized as its float32 twin.
        recipe: Name of a recipe ("w8a8", "w4a8", "w2a2", "ternary-a8", "w8a8-2:4", …) or a
            `mobilequant.Recipe`.
        target: Name of the device kind that the file is for, "phone", "phone-int4",
            "phone-legacy" (or "phone-2.9", by the TFLite release that must run it) or "edgetpu":
            what the device demands is decided here.
        estimator: "denoise", "ste" or "lsq" for weights and activations alike; by default what
            the recipe says ("denoise").
        leave_float: Names of layers, or patterns ("head_*"), that are to stay float. Such a model
            trains and evaluates in Keras, and `tflite_tools.convert(…, allow_float=True)` writes
            it as a mixed file.
        name: Name of the new model; the float model's by default.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        TypeError: The model has no graph (subclassed), or is no Keras 3 model.
        ValueError: Layers that the device cannot compute in integers (all of them are listed, by
            name, with what to use instead), NaN or infinite weights, an unknown recipe, target,
            estimator or name, a model that is quantized already.
    """
    recipe = recipes.get(recipe)
    if estimator is not None:
        recipe = recipe.with_estimator(estimator)
    target = targets.get(target)
    with in_float32():
        graph = flat_graph(model)
        _check(model, graph)
        graph = as_layers(with_stand_ins(graph))
        context = Context(graph=graph, recipe=recipe, target=target)
        _check_overrides(context)
        left = _left_in_float(leave_float, graph, model.name)
        groups = group_calls(context, left)
        replacements = build_replacements(groups, context, left, model.name)
        return connect(graph, groups, replacements, context, left, name or model.name)


def _check(model, graph):
    quantized = [call.name for call in graph.calls if isinstance(call.layer, QuantizedLayer)]
    if quantized:
        raise ValueError(
            f"Model {model.name!r} is quantized already (layer {quantized[0]!r}); quantize the "
            "float model."
        )
    for call in graph.calls:
        for variable in getattr(call.layer, "weights", []):
            kind = keras.backend.standardize_dtype(variable.dtype)
            # Whole numbers are no weights: states of random generators, and counters.
            if "float" in kind and kind != "float32":
                raise ValueError(
                    f"Layer {call.name!r} holds {variable.name!r} in {kind}; build the model under "
                    "the policy 'float32' or 'mixed_float16' (keras.config.set_dtype_policy), "
                    "whose variables are float32, and load its weights before quantizing."
                )
            if not np.all(np.isfinite(keras.ops.convert_to_numpy(variable))):
                raise ValueError(
                    f"Layer {call.name!r}: {variable.name!r} holds NaN or infinite values; load "
                    "sound weights, or lower the learning rate that led to them."
                )
    used = {id(tensor) for call in graph.calls for tensor in call.inputs}
    for tensor in graph.inputs:
        if id(tensor) not in used and not graph.is_output(tensor):
            raise ValueError(
                f"Model {model.name!r}: no output depends on the input "
                f"{tensor._keras_history.operation.name!r}; build the model without it."
            )


def _check_overrides(context):
    names = context.weighted_names
    for pattern in context.recipe.overrides:
        if pattern not in recipes.ROLES and not fnmatch.filter(names, pattern):
            known = ", ".join(repr(name) for name in names[:5])
            raise ValueError(
                f"Recipe {context.recipe.name!r}: its override {pattern!r} fits no layer with "
                f"weights; they are {known}{', …' if len(names) > 5 else ''}, and the roles are "
                f"{', '.join(recipes.ROLES)}."
            )


def _left_in_float(patterns, graph, model_name):
    """Ids of the calls whose layers stay float."""
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    left = set()
    for pattern in patterns:
        fits = [call for call in graph.calls if fnmatch.fnmatchcase(call.name, pattern)]
        if not fits:
            names = [call.name for call in graph.calls]
            known = ", ".join(repr(name) for name in names[:5])
            raise ValueError(
                f"leave_float: model {model_name!r} has no layer {pattern!r}; it has "
                f"{known}{', …' if len(names) > 5 else ''}"
            )
        left.update(id(call) for call in fits)
    return left
