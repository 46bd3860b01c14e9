"""The float parts of a quantized model: which calls stay float, and which of them run as one."""

from __future__ import annotations

import dataclasses

import keras

from mobilequant.layers.base import QuantizedLayer, source_of
from mobilequant.layers.moving import keeps_grid
from mobilequant.layers.selecting import ArgMax
from mobilequant.quantize.graph import Call, Graph


@dataclasses.dataclass(eq=False)
class Region:
    """Connected calls of float layers between which nothing is int8.

    Attributes:
        calls: In the order in which they run.
        inputs: Symbolic tensors that they take from outside: on a grid, or of other regions.
        outputs: Their symbolic tensors that are used outside.
    """

    calls: list[Call]
    inputs: list
    outputs: list


def is_float(call: Call) -> bool:
    """Whether a call computes in float, as nothing else on a device's integers does."""
    if isinstance(call.layer, QuantizedLayer):
        return False
    if isinstance(call.layer, ArgMax):
        return source_of(call.inputs[0]) is None
    return not (keeps_grid(call.layer) and source_of(call.outputs[0]) is not None)


def steps(graph: Graph) -> list[Call | Region]:
    """The model as calls on integers and regions of float calls, in an order to run them in.

    A region is as large as it can be: a float layer goes with the float layer before it, unless
    what it takes besides waits for integers that come from there.
    """
    levels = _levels(graph)
    regions = _regions(graph, levels)
    first = {id(region.calls[0]): region for region in regions}
    found = [
        (levels[id(call)], is_float(call), first.get(id(call), call))
        for call in graph.calls
        if not is_float(call) or id(call) in first
    ]
    # Of one level, integers never wait for floats. The sort is stable.
    return [step for *_, step in sorted(found, key=lambda entry: entry[:2])]


def float_names(graph: Graph) -> dict[int, str]:
    """Names of the float tensors by their ids: the layer's, with a number for further ones.

    Names of Keras' layers hold no slash, so none comes twice.
    """
    names, calls_of = {}, {}
    for call in graph.calls:
        if not is_float(call):
            continue
        number = calls_of[call.name] = calls_of.get(call.name, 0) + 1
        name = call.name if number == 1 else f"{call.name}/call_{number}"
        for i, tensor in enumerate(call.outputs):
            names[id(tensor)] = name if i == 0 else f"{name}/output_{i}"
    return names


class Inference(keras.layers.Layer):
    """Calls of a model, run again on values, as the model itself runs them in inference.

    A layer, so that those inside learn as in any model that nothing is being trained.

    Args:
        calls: In an order to run them in.
        inputs: Symbolic tensors whose values are given.
        outputs: Symbolic tensors whose values are wanted.
        instead: Values, by the id of a symbolic tensor, that others go on with instead of what
            was computed; the outputs are what was computed.
    """

    def __init__(self, calls, inputs, outputs, instead=None):
        super().__init__(dtype="float32", autocast=False)
        # In a function, where Keras does not look for layers: they belong to their model.
        self._run = lambda values: _run(calls, inputs, outputs, instead or {}, values)
        self.built = True

    def call(self, tensors, training=None):
        """Lists of values in and out."""
        return self._run(tensors)

    def __call__(self, tensors):
        return super().__call__(tensors, training=False)


def _run(calls, inputs, outputs, instead, given):
    used = dict(zip(map(id, inputs), given, strict=True))
    computed = dict(used)
    for call in calls:
        for tensor, value in zip(call.outputs, call.infer(used), strict=True):
            computed[id(tensor)] = value
            used[id(tensor)] = instead.get(id(tensor), value)
    return [computed[id(tensor)] for tensor in outputs]


def _levels(graph):
    """By id of a call: how often its values came back from float to int8 at most."""
    of_tensor, of_call = {}, {}
    float_tensors = set()
    for call in graph.calls:
        stays_float = is_float(call)
        level = 0
        for tensor in call.inputs:
            returns = id(tensor) in float_tensors and not stays_float
            level = max(level, of_tensor.get(id(tensor), 0) + returns)
        of_call[id(call)] = level
        for tensor in call.outputs:
            of_tensor[id(tensor)] = level
            if stays_float:
                float_tensors.add(id(tensor))
    return of_call


def _regions(graph, levels):
    # By id of a call: the list of calls that it runs with, in the model's order in the end.
    together: dict[int, list] = {}
    for call in graph.calls:
        if not is_float(call):
            continue
        group = [call]
        for tensor in call.inputs:
            producer = graph.producer(tensor)
            joins = (
                producer is not None
                and id(producer) in together
                and levels[id(producer)] == levels[id(call)]
            )
            if joins and together[id(producer)] is not group:
                group = [*together[id(producer)], *group]
                together |= {id(member): group for member in group}
        together[id(call)] = group
    groups = {id(group): group for group in together.values()}
    order = {id(call): i for i, call in enumerate(graph.calls)}
    return [
        _region(sorted(group, key=lambda call: order[id(call)]), graph) for group in groups.values()
    ]


def _region(calls, graph):
    inside = {id(tensor) for call in calls for tensor in call.outputs}
    members = {id(call) for call in calls}
    taken = {id(t): t for call in calls for t in call.inputs if id(t) not in inside}
    given = [
        tensor
        for call in calls
        for tensor in call.outputs
        if graph.is_output(tensor) or any(id(user) not in members for user in graph.users(tensor))
    ]
    return Region(calls, list(taken.values()), given)
