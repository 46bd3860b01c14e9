"""Layers that `keras.applications` defines for itself, as those of ours that compute the same.

They are private to their modules, so that no rule can name their classes.
"""

from __future__ import annotations

import dataclasses

from mobilequant.layers.scaling import LayerScale, StochasticDepth
from mobilequant.quantize.graph import Graph


def with_stand_ins(graph: Graph) -> Graph:
    """The graph with ours in the places of such layers; a layer that is shared stays shared."""
    made = {}
    calls = []
    for call in graph.calls:
        kind = f"{type(call.layer).__module__}.{type(call.layer).__name__}"
        if kind in _STAND_INS:
            if id(call.layer) not in made:
                made[id(call.layer)] = _STAND_INS[kind](call.layer)
            call = dataclasses.replace(call, layer=made[id(call.layer)])
        calls.append(call)
    return Graph(graph.inputs, graph.outputs, calls, graph.structures)


def _layer_scale(layer):
    copy = LayerScale(layer.init_values, name=layer.name, trainable=layer.trainable)
    copy.build((None, layer.projection_dim))
    copy.gamma.assign(layer.gamma)
    return copy


def _stochastic_depth(layer):
    return StochasticDepth(layer.drop_path_rate, name=layer.name)


_STAND_INS = {
    "keras.src.applications.convnext.LayerScale": _layer_scale,
    "keras.src.applications.convnext.StochasticDepth": _stochastic_depth,
}
