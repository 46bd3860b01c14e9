"""The roles that a layer with weights plays in its model, by which a recipe can override it."""

from __future__ import annotations

import keras

from mobilequant.quantize.graph import Call, Graph

#: Layers with a kernel, in whose order the first and the last stand out.
WEIGHTED = (
    keras.layers.Conv1D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def roles_of(call: Call, graph: Graph, weighted: list) -> list[str]:
    """The roles of a call, of `recipe.ROLES`.

    Args:
        call: Of a layer with weights.
        graph: The model.
        weighted: All its layers with weights, in order.
    """
    found = {
        "first": call.layer in weighted[:1],
        "last": call.layer in weighted[-1:],
        "shortcut": _is_shortcut(call, graph),
        "depthwise": isinstance(call.layer, _DEPTHWISE),
        "dense": isinstance(call.layer, keras.layers.Dense),
    }
    return [role for role, holds in found.items() if holds]


def _is_shortcut(call, graph):
    """Whether a 1×1 convolution takes the input of a residual branch past it to the addition."""
    if type(call.layer) is not keras.layers.Conv2D or set(call.layer.kernel_size) != {1}:
        return False
    last = call
    while True:
        following = graph.consumers(last)
        if len(following) != 1:
            return False
        if isinstance(following[0].layer, keras.layers.Add):
            break
        if _has_kernel(following[0]):
            return False
        last = following[0]
    sources = _past_pooling(call.inputs[0], graph)
    others = [t for t in following[0].inputs if all(t is not own for own in last.outputs)]
    return any(_descends(tensor, sources, graph) for tensor in others)


def _past_pooling(tensor, graph):
    """The tensor and those that it is made of without weights."""
    found = {id(tensor)}
    producer = graph.producer(tensor)
    while producer is not None and not _has_weights(producer) and len(producer.inputs) == 1:
        found.add(id(producer.inputs[0]))
        producer = graph.producer(producer.inputs[0])
    return found


def _descends(tensor, sources, graph):
    """Whether a tensor is made of one of the sources by at least one layer with a kernel."""
    seen, open_ = set(), [(tensor, False)]
    while open_:
        tensor, weighted = open_.pop()
        if id(tensor) in sources and weighted:
            return True
        producer = graph.producer(tensor)
        if producer is None or (id(tensor), weighted) in seen:
            continue
        seen.add((id(tensor), weighted))
        weighted = weighted or _has_kernel(producer)
        open_ += [(source, weighted) for source in producer.inputs]
    return False


def _has_weights(call):
    return bool(getattr(call.layer, "weights", None))


def _has_kernel(call):
    return isinstance(call.layer, WEIGHTED)
