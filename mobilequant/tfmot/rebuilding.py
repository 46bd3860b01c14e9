"""A TFMOT model without its wrappers: a float Keras 3 model, and the ranges beside it."""

from __future__ import annotations

import collections
import dataclasses

import keras
import numpy as np

from mobilequant import layers
from mobilequant.layers.moving import MOVING, TRAINING_ONLY
from mobilequant.quantize import Rule, register_rule
from mobilequant.tfmot.stock import copy_weights, stock_layer
from mobilequant.tfmot.wrappers import INITIAL, Refused, Unwrapped, is_a, unwrap

#: Layers that a range of their own moves to another grid.
_KEEPING = (
    *TRAINING_ONLY,
    *MOVING,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
)

#: Layers whose output has the grid that it has, whatever follows.
_BOUND = (*_KEEPING, keras.layers.Concatenate, keras.layers.InputLayer)

#: Layers that become part of the operator before them.
_ABSORBED = (keras.layers.BatchNormalization, keras.layers.ReLU, keras.layers.Activation)


@dataclasses.dataclass
class Reading:
    """What a TFMOT model is made of.

    Attributes:
        model: The float Keras 3 model.
        activations: Range (low, high) of a layer's output, by its name.
        weights: Largest magnitude of a layer's quantized kernel, one or one a channel.
    """

    model: keras.Model
    activations: dict[str, tuple[float, float]]
    weights: dict[str, np.ndarray]


class OwnGrid(keras.layers.Identity):
    """Stands where TFMOT gives the output of a layer that keeps its grid a range of its own."""


@register_rule(OwnGrid)
class OwnGridRule(Rule):
    """A change of the grid."""

    def build(self, group, context):
        context.require("QUANTIZE")
        return [
            layers.QuantizedRescale(activations=context.recipe.outputs, name=group[0].layer.name)
        ]


def rebuild(model) -> Reading:
    """Reads a model that TFMOT quantized.

    Args:
        model: A tf_keras model.

    Raises:
        TypeError: It is no tf_keras model.
        ValueError: It is not quantized or not trained, or has layers that cannot be taken over.
    """
    _check(model)
    parts = _unwrap_all(model)
    builder = _Builder(model)
    for layer, part in parts:
        builder.add(layer, part)
    return Reading(builder.finish(), builder.activations, builder.weights)


class _Builder:
    """Calls Keras 3 layers as the tf_keras model calls its own."""

    def __init__(self, model):
        self.activations, self.weights = {}, {}
        self._source = model
        # By id of a tensor of the tf_keras model: what stands for it, and how many use it.
        self._tensors = {
            id(tensor): keras.Input(batch_shape=tuple(tensor.shape), name=name)
            for tensor, name in zip(model.inputs, model.input_names, strict=True)
        }
        self._inputs = dict(self._tensors)
        self._users = collections.Counter(
            id(tensor)
            for tensors in (model.outputs, *(layer.input for layer in _inner_layers(model)))
            for tensor in keras.tree.flatten(tensors)
        )

    def add(self, layer, part: Unwrapped):
        """Calls what stands for `layer`."""
        sources = keras.tree.flatten(layer.input)
        feeds = [self._tensors[id(tensor)] for tensor in sources]
        if part.layer is None:
            value = self._with_range(feeds[0], part.after)
        elif part.before is not None:
            # What TFMOT has a range for is a tensor of its own.
            name = part.layer.name
            value = self._call(part, None, f"{name}_linear", feeds, part.before)
            activation = keras.layers.Activation(part.activation, name=name)
            value = self._with_range(activation(value), part.after)
        elif part.after is not None and is_a(part.layer, "Concatenate"):
            self._hand_back(sources, feeds, part.after)
            value = self._call(part, None, part.layer.name, feeds, part.after)
        elif part.after is not None and is_a(part.layer, "UpSampling2D"):
            if not self._hand_back(sources, feeds, part.after):
                own = OwnGrid(name=f"{part.layer.name}_range")
                feeds = [self._with_range(own(feeds[0]), part.after)]
            value = self._call(part, None, part.layer.name, feeds, None)
        else:
            value = self._call(part, part.activation, part.layer.name, feeds, part.after)
        self._tensors[id(layer.output)] = value

    def finish(self) -> keras.Model:
        """The model."""

        def find(tensors):
            return lambda tensor: tensors[id(tensor)]

        return keras.Model(
            keras.tree.map_structure(find(self._inputs), self._source.input),
            keras.tree.map_structure(find(self._tensors), self._source.output),
            name=self._source.name,
        )

    def _hand_back(self, sources, feeds, ends) -> bool:
        """Gives what makes the inputs of a layer the range that this layer has them in.

        TFLite's converter lets an operator compute on the grid that its only consumer demands.
        """
        done = True
        for source, feed in zip(sources, feeds, strict=True):
            maker = feed._keras_history.operation
            if self._users[id(source)] > 1 or isinstance(maker, _BOUND):
                done = False
            else:
                self.activations[maker.name] = ends
        return done

    def _call(self, part, activation, name, feeds, after):
        new = stock_layer(part.layer, activation, name)
        if after is not None and isinstance(new, _ABSORBED) and self._has_range(feeds[0]):
            # TFMOT rounds before it as well, so that it is an operator of its own.
            feeds = [keras.layers.Identity(name=f"{name}_input")(feeds[0])]
        value = new(feeds if len(feeds) > 1 else feeds[0])
        copy_weights(new, part.weights)
        if part.largest is not None:
            self.weights[name] = part.largest
        if after is not None and isinstance(new, _KEEPING):
            value = OwnGrid(name=f"{name}_range")(value)
        return self._with_range(value, after)

    def _with_range(self, tensor, ends):
        if ends is not None:
            self.activations[tensor._keras_history.operation.name] = ends
        return tensor

    def _has_range(self, tensor):
        return tensor._keras_history.operation.name in self.activations


def _check(model):
    modules = [kind.__module__ for kind in type(model).__mro__]
    if isinstance(model, keras.Model) or not any("keras" in module for module in modules):
        hint = (
            " It is a Keras 3 model: mobilequant.quantize takes it as it is."
            if isinstance(model, keras.Model)
            else ""
        )
        raise TypeError(
            "from_tfmot takes what TFMOT's quantize_model or quantize_apply returned (a tf_keras "
            f"model), or the path of one, not {type(model).__name__}.{hint}"
        )
    if not getattr(model, "inputs", None) or not hasattr(model, "layers"):
        raise ValueError(
            f"Model {model.name!r} has no graph; TFMOT quantizes functional and Sequential models."
        )


def _unwrap_all(model):
    """Pairs of a tf_keras layer and what it holds."""
    parts, problems = [], []
    for layer in _inner_layers(model):
        name = layer.layer.name if hasattr(layer, "layer") else layer.name
        try:
            if is_a(layer, "Functional", "Sequential", "Model"):
                raise Refused("is a nested model, which TFMOT leaves in float.")
            if len(layer.inbound_nodes) > 1:
                raise Refused("is called more than once.")
            part = unwrap(layer)
            if part.layer is not None:
                stock_layer(part.layer, part.activation, name)
            parts.append((layer, part))
        except Refused as problem:
            problems.append(f"  {name!r}: {problem}")
    if not any(part.largest is not None for _, part in parts) and not problems:
        raise ValueError(
            f"Model {model.name!r} is not quantized by TFMOT: no layer of it has quantized "
            "weights. Give what tfmot.quantization.keras.quantize_model returned, after training."
        )
    if problems:
        raise ValueError(
            f"Model {model.name!r} cannot be taken over from TFMOT; these layers stand in the "
            "way:\n" + "\n".join(problems)
        )
    if all(np.all(part.largest == INITIAL) for _, part in parts if part.largest is not None):
        raise ValueError(
            f"Model {model.name!r} was never trained since TFMOT quantized it: its ranges are "
            "those that TFMOT starts from. Run fit for a step at least."
        )
    return parts


def _inner_layers(model):
    return [layer for layer in model.layers if not is_a(layer, "InputLayer")]
