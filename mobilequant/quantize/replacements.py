"""The new layers of every group of calls, and one error for all that cannot be built."""

from __future__ import annotations

import keras

from mobilequant.quantize.rules import Unsupported, clone_layer, find_rule

#: Layers whose weights are no operands of products: what a scheme is for.
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.PReLU,
)


def build_replacements(groups, context, left, model_name) -> list[list]:
    """The new layers of each group; of groups that share their weights, the same ones.

    Args:
        groups: What `group_calls` gives.
        context: A rule's `Context`.
        left: Ids of calls that stay float.
        model_name: For the error.

    Raises:
        ValueError: Layers that cannot be quantized, all of them, with what to do.
    """
    replacements, problems, built = [], {}, {}
    for group in groups:
        layer = group[0].layer
        if id(layer) in built:
            replacements.append(built[id(layer)])
            continue
        try:
            new = _build(group, context, left)
        except Unsupported as problem:
            problems.setdefault(id(layer), (group[0], problem))
            continue
        replacements.append(new)
        if getattr(layer, "weights", None):
            built[id(layer)] = new
    if problems:
        raise ValueError(_message(problems.values(), context, model_name))
    return replacements


def _build(group, context, left):
    call = group[0]
    rule = find_rule(call.layer)
    if id(call) in left:
        return [_as_it_is(call.layer)]
    if rule is None:
        if _flows_in_float(call.layer, context):
            return [_as_it_is(call.layer)]
        what = "layer" if isinstance(call.layer, keras.layers.Layer) else "operation"
        raise Unsupported(
            call.problem or f"this kind of {what} has no rule; see mobilequant.register_rule."
        )
    try:
        return rule.build(group, context)
    except Unsupported:
        if len(group) == 1 and _flows_in_float(call.layer, context):
            return [_as_it_is(call.layer)]
        raise


def _flows_in_float(layer, context):
    """Whether a layer is taken over as it is: nothing to quantize in it, nor around it."""
    if context.recipe.outputs.quantized:
        return False
    return not getattr(layer, "weights", None) or isinstance(layer, _NORMALIZATIONS)


def _as_it_is(layer):
    if isinstance(layer, keras.layers.Layer):
        return clone_layer(layer)
    return type(layer).from_config(layer.get_config())


def _message(problems, context, model_name):
    lines = [f"  {call.name!r} ({type(call.layer).__name__}): {what}" for call, what in problems]
    names = [call.name for call, _ in problems]
    listed = ", ".join(map(repr, names[:3]))
    return (
        f"Model {model_name!r} cannot be quantized for {context.target.name!r}; these layers "
        "stand in the way:\n" + "\n".join(lines) + "\n"
        f"Replace them, or leave them in float with leave_float=[{listed}"
        f"{', …' if len(names) > 3 else ''}]: then the model trains and evaluates in Keras, but "
        "gives no integer file."
    )
