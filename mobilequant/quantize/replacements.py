"""The new layers of every group of calls, and one error for all that cannot be built."""

from __future__ import annotations

import keras

from mobilequant.layers import FoldedLayer, QuantizedLayer
from mobilequant.operator_versions import runs_in_float
from mobilequant.quantize.alternatives import alternative_to
from mobilequant.quantize.rules import Unsupported, clone_layer, find_rule

#: Layers whose weights are no operands of products: what a scheme is for.
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
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
        shared = len(context.graph.calls_of(group[0])) > 1 and getattr(layer, "weights", None)
        try:
            new = _build(group, context, left)
            if shared:
                _require_shareable(new)
        except Unsupported as problem:
            problems.setdefault(id(layer), (group, problem))
            continue
        replacements.append(new)
        if shared:
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
            call.problem or f"this kind of {what} has no rule; {alternative_to(call.layer)}."
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


def _require_shareable(new_layers):
    """Refuses layers that cannot share their weights with those of another call."""
    for layer in new_layers:
        if isinstance(layer, FoldedLayer):
            continue
        # Those of a quantized layer's quantizers come with its first call.
        if not isinstance(layer, keras.Operation) or (
            isinstance(layer, QuantizedLayer) and layer.weights
        ):
            raise Unsupported(
                "is called more than once, and this kind of layer cannot share its weights; give "
                "each call a layer of its own."
            )


def _as_it_is(layer):
    if isinstance(layer, keras.layers.Lambda):
        # Its function is at hand: to find it by its name, or to trust its bytes, is for loading.
        return type(layer)(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=dict(layer.arguments),
            name=layer.name,
            dtype="float32",
        )
    if isinstance(layer, keras.layers.Layer):
        return clone_layer(layer)
    return type(layer).from_config(layer.get_config())


def _message(problems, context, model_name):
    found = [(_blamed(group, what, context), what) for group, what in problems]
    lines = [
        f"  {' with '.join(f'{c.name!r} ({type(c.layer).__name__})' for c in calls)}: {what}"
        for calls, what in found
    ]
    beginning = (
        f"Model {model_name!r} cannot be quantized for {context.target.name!r}; these layers "
        "stand in the way:\n" + "\n".join(lines) + "\n"
    )
    if not context.target.float_operators:
        return beginning + (
            f"Replace them; files for {context.target.name!r} hold no float layers, those for "
            "target='phone' may (leave_float)."
        )
    if not all(_runs_in_float(what, context.target) for _, what in found):
        return beginning + (
            f"Replace them: TFLite {context.target.runtime} does not run all of them in float "
            "either. Newer releases do, and target='phone'."
        )
    names = [call.name for calls, _ in found for call in calls]
    listed = ", ".join(map(repr, names[:3]))
    return beginning + (
        f"Replace them, or leave them in float with leave_float=[{listed}"
        f"{', …' if len(names) > 3 else ''}]: then the model trains and evaluates in Keras, and "
        "tflite_tools.convert writes it as a mixed file where allow_float=True asks for one."
    )


def _blamed(group, problem, context):
    """The calls of a group that do not fit by themselves; where that is none, all that may."""
    normalization = keras.layers.BatchNormalization  # fits always
    calls = [group[0], *(call for call in group[1:] if not isinstance(call.layer, normalization))]
    alone = [call for call in calls if _problem_of(call, context) == str(problem)]
    return alone or calls


def _problem_of(call, context):
    """What keeps a call from being quantized without those that it is grouped with, if anything."""
    rule = find_rule(call.layer)
    try:
        if rule is not None:
            rule.build([call], context)
    except Unsupported as problem:
        return str(problem)
    return None


def _runs_in_float(problem, target):
    """Whether the target's runtime has the operators that it lacks in integers in float."""
    return all(runs_in_float(kind, target.runtime) for kind in problem.operators)
