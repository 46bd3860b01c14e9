"""`quantize`: a float Keras model in, a quantized Keras model out.

The stages: read the graph, group calls that become one operator, let the rules build the new
layers, and connect these as the old ones were.
"""

from __future__ import annotations

import fnmatch

import keras
import numpy as np

from mobilequant import layers, targets
from mobilequant.layers.base import QuantizedLayer
from mobilequant.quantize import recipe as recipes
from mobilequant.quantize.graph import ModelGraph
from mobilequant.quantize.rules import Context, Unsupported, clone_layer, find_rule

#: Layers whose weights are no operands of products: what a scheme is for.
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.PReLU,
)


def quantize(model, recipe="w8a8", *, target="phone", estimator=None, name=None):
    """Returns a quantized copy of a Keras model; the model itself stays as it is.

    The result is a functional `keras.Model` with the same inputs, outputs and weights. Train it
    with `fit` (or set its ranges from data with `mobilequant.calibrate`), save and load it as any
    model, and turn it into a file with `tflite_tools.convert`.

    Args:
        model: A functional or Sequential Keras 3 model, built, channels last, float32.
        recipe: Name of a recipe ("w8a8", "w4a8", "w2a2", "ternary-a8", "w8a8-2:4", …) or a
            `mobilequant.Recipe`.
        target: Name of the device kind that the file is for, "phone" or "edgetpu": what the
            device demands is decided here.
        estimator: "denoise", "ste" or "lsq" for weights and activations alike; by default what
            the recipe says ("denoise"). "lsq" needs `calibrate` before `fit`.
        name: Name of the new model; the float model's by default.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        TypeError: The model has no graph (subclassed), or is no Keras 3 model.
        ValueError: Layers that have no rule (all of them are listed, by name), NaN or infinite
            weights, an unknown recipe, target or estimator, a model that is quantized already.
    """
    recipe = recipes.get(recipe)
    if estimator is not None:
        recipe = recipe.with_estimator(estimator)
    target = targets.get(target)
    graph = ModelGraph(model)
    context = Context(graph=graph, recipe=recipe, target=target)
    _check(model, graph)
    _check_overrides(context)
    groups = _group(context)
    replacements = _build(groups, context, model.name)
    return _connect(graph, groups, replacements, context, name or model.name)


def _check(model, graph):
    quantized = [call.name for call in graph.calls if isinstance(call.layer, QuantizedLayer)]
    if quantized:
        raise ValueError(
            f"Model {model.name!r} is quantized already (layer {quantized[0]!r}); quantize the "
            "float model."
        )
    for call in graph.calls:
        policy = getattr(call.layer, "compute_dtype", "float32")
        if policy not in ("float32", None):
            raise ValueError(
                f"Layer {call.name!r} computes in {policy}; build the model under the policy "
                "'float32' (keras.config.set_dtype_policy) and load its weights before quantizing."
            )
        for variable in getattr(call.layer, "weights", []):
            if not np.all(np.isfinite(keras.ops.convert_to_numpy(variable))):
                raise ValueError(
                    f"Layer {call.name!r}: {variable.name!r} holds NaN or infinite values; load "
                    "sound weights, or lower the learning rate that led to them."
                )


def _check_overrides(context):
    names = [layer.name for layer in context.weighted]
    for pattern in context.recipe.overrides:
        if pattern not in recipes.ROLES and not fnmatch.filter(names, pattern):
            known = ", ".join(repr(name) for name in names[:5])
            raise ValueError(
                f"Recipe {context.recipe.name!r}: its override {pattern!r} fits no layer with "
                f"weights; they are {known}{', …' if len(names) > 5 else ''}, and the roles are "
                f"{', '.join(recipes.ROLES)}."
            )


def _group(context):
    """Lists of calls that become one operator, in the order in which they run."""
    groups, taken = [], set()
    for call in context.graph.calls:
        if id(call) in taken:
            continue
        group = [call]
        rule = find_rule(call.layer)
        if rule is not None and not context.graph.is_shared(call):
            following = context.graph.only_consumer(call)
            while following is not None and rule.absorbs(group, following, context):
                group.append(following)
                following = context.graph.only_consumer(following)
        taken.update(id(member) for member in group)
        groups.append(group)
    return groups


def _build(groups, context, model_name):
    """The new layers of every group; one error for all that cannot be built."""
    replacements, problems, shared = [], [], set()
    for group in groups:
        layer = group[0].layer
        rule = find_rule(layer)
        try:
            if rule is None and _flows_in_float(layer, context):
                replacements.append([clone_layer(layer)])
                continue
            if rule is None:
                raise Unsupported("this kind of layer has no rule; see mobilequant.register_rule.")
            if context.graph.is_shared(group[0]) and getattr(layer, "weights", None):
                raise Unsupported("a layer with weights that is called more than once.")
            replacements.append(rule.build(group, context))
        except Unsupported as problem:
            if len(group) == 1 and _flows_in_float(layer, context):
                replacements.append([clone_layer(layer)])
                continue
            if id(layer) not in shared:
                problems.append(f"  {layer.name!r} ({type(layer).__name__}): {problem}")
            shared.add(id(layer))
    if problems:
        raise ValueError(
            f"Model {model_name!r} cannot be quantized for {context.target.name!r}; these layers "
            "stand in the way:\n" + "\n".join(problems)
        )
    return replacements


def _flows_in_float(layer, context):
    """Whether a layer is taken over as it is: nothing to quantize in it, nor around it."""
    if context.recipe.outputs.quantized:
        return False
    return isinstance(layer, keras.layers.Layer) and (
        not layer.weights or isinstance(layer, _NORMALIZATIONS)
    )


def _connect(graph, groups, replacements, context, name):
    names = {}
    tensors = {}
    inputs = []
    for old in graph.inputs:
        layer = old._keras_history.operation
        new = keras.Input(batch_shape=old.shape, dtype="float32", name=layer.name)
        quantized = layers.QuantizedInput(
            target=context.target.name,
            recipe=context.recipe.name,
            activations=context.recipe.image,
            name=f"{layer.name}_quantized",
        )
        inputs.append(new)
        tensors[id(old)] = quantized(new)
    for group, new_layers in zip(groups, replacements, strict=True):
        value = [tensors[id(tensor)] for tensor in group[0].inputs]
        value = value[0] if len(value) == 1 else value
        for layer in new_layers:
            layer.name = _unique(layer.name, names)
            value = layer(value)
        tensors[id(group[-1].outputs[0])] = value
    outputs = [tensors[id(tensor)] for tensor in graph.outputs]
    return keras.Model(graph.pack_inputs(inputs), graph.pack_outputs(outputs), name=name)


def _unique(name, names):
    names[name] = names.get(name, -1) + 1
    return name if not names[name] else f"{name}_{names[name]}"
