"""Puts the new layers together as the old ones were."""

from __future__ import annotations

import keras

from mobilequant import layers
from mobilequant.layers.base import QuantizedLayer, source_of
from mobilequant.layers.entry import QuantizedEntry


def connect(graph, groups, replacements, context, left, name):
    """The quantized model.

    Args:
        graph: The float model.
        groups: Calls that became one operator.
        replacements: The new layers of each group. Where a list comes again, its calls share
            their weights.
        context: The rules' `Context`.
        left: Ids of calls that stay float.
        name: Of the new model.
    """
    named = _Names()
    # By id of a tensor of the float model: the new one, and what stays float of it.
    tensors, floats = {}, {}
    inputs = []
    for old in graph.inputs:
        new, tensors[id(old)] = _input(old, context, named)
        inputs.append(new)
    outputs_of = {}
    for group, new_layers in zip(groups, replacements, strict=True):
        stays = id(group[0]) in left
        known = {**tensors, **floats} if stays else tensors
        feeds = [known[id(t)] for t in group[0].inputs]
        # What the same layers gave where they were called first.
        owners = outputs_of.get(id(new_layers))
        values = _call(new_layers, owners, feeds, group, named)
        outputs_of.setdefault(id(new_layers), values)
        for old, new in zip(group[-1].outputs, keras.tree.flatten(values[-1]), strict=True):
            tensors[id(old)] = new
            # One that only moves values leaves them on the grid on which they came.
            if stays and source_of(new) is None:
                floats[id(old)] = new
                if any(id(user) not in left for user in graph.users(old)):
                    tensors[id(old)] = _entry(new, group[0].name, context, named)
    outputs = [floats.get(id(t), tensors[id(t)]) for t in graph.outputs]
    return keras.Model(graph.pack_inputs(inputs), graph.pack_outputs(outputs), name=name)


def _input(old, context, named):
    """An input as the user feeds it, and on its grid."""
    name = named.unique(old._keras_history.operation.name)
    new = keras.Input(batch_shape=old.shape, dtype="float32", name=name)
    quantized = layers.QuantizedInput(
        target=context.target.name,
        recipe=context.recipe.name,
        activations=context.recipe.image,
        name=named.unique(f"{name}_quantized"),
    )
    return new, quantized(new)


def _entry(tensor, name, context, named):
    """What a float layer gives, on a grid again."""
    entry = QuantizedEntry(
        activations=context.recipe.outputs, name=named.unique(f"{name}_quantized")
    )
    return entry(tensor)


def _call(new_layers, owners, feeds, group, named):
    """Calls the layers of a group one after the other; what each gives."""
    values = []
    for i, layer in enumerate(new_layers):
        value = (feeds if len(feeds) > 1 else feeds[0]) if i == 0 else values[-1]
        if owners is None:
            named.rename(layer, group)
        else:
            layer = _again(layer, named)
        if getattr(layer, "borrows", False):
            values.append(layer(value, weights_of=owners[i]))
        elif isinstance(layer, keras.layers.Resizing):
            # Its own default is to train, which Keras hands on to all layers behind it.
            values.append(layer(value, training=False))
        elif i == 0 and type(layer) is type(group[0].layer):
            values.append(group[0].replay(layer, feeds))
        else:
            values.append(layer(value))
    return values


def _again(layer, named):
    """A layer for another call of the weights of `layer`, with ranges of its own."""
    if layer.weights and not isinstance(layer, QuantizedLayer):
        return layer
    name = named.unique(layer.name)
    if isinstance(layer, layers.FoldedLayer):
        return layer.borrower(name)
    return type(layer).from_config({**layer.get_config(), "name": name})


class _Names:
    """Names of the new model's layers, each given once."""

    def __init__(self):
        self._given = set()

    def unique(self, name):
        """The name, with a number behind it where it is given already."""
        free, number = name, 0
        while free in self._given:
            number += 1
            free = f"{name}_{number}"
        self._given.add(free)
        return free

    def rename(self, layer, group):
        """Gives a new layer a unique name; as its old one, it tells in which model it was."""
        prefix = next(
            (call.prefix for call in reversed(group) if layer.name == call.layer.name),
            group[0].prefix,
        )
        name = self.unique(prefix + layer.name)
        if name != layer.name:
            layer.name = name
