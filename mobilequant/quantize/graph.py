"""Reads a Keras functional model as a plain graph: which layer call feeds which.

The only place that looks into Keras' nodes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras


@dataclasses.dataclass(eq=False)
class Call:
    """One call of a layer (a shared layer has several).

    Attributes:
        layer: The Keras layer or operation.
        inputs: Symbolic tensors that it takes, in order.
        outputs: Symbolic tensors that it gives.
        arguments: Keyword arguments of the call that are not None.
        operands: Positional arguments of the call, tensors and constants as they were given.
        prefix: What distinguishes the layer from one of the same name in another nested model.
        problem: Why this operation cannot be quantized, where that is known already.
    """

    layer: keras.Operation
    inputs: list
    outputs: list
    arguments: dict = dataclasses.field(default_factory=dict)
    operands: tuple = ()
    prefix: str = ""
    problem: str | None = None

    @property
    def name(self) -> str:
        """The layer's name, unique among the model's layers."""
        return self.prefix + self.layer.name

    def replay(self, layer, tensors: list):
        """Calls a layer as this call called its own, on other tensors.

        Args:
            layer: A Keras layer or operation.
            tensors: What takes the places of `inputs`.
        """
        others = {id(old): new for old, new in zip(self.inputs, tensors, strict=True)}
        operands, arguments = _substitute((self.operands, self.arguments), others)
        return layer(*operands, **arguments)

    def infer(self, values: dict) -> list:
        """Runs the call's own layer, in inference, on values.

        Args:
            values: Values of symbolic tensors by the tensors' ids.

        Returns:
            The values of `outputs`.
        """
        operands, arguments = _substitute((self.operands, self.arguments), values)
        if "training" in arguments:
            # As a model does it: what a whole model is called with counts for each layer in it.
            arguments["training"] = False
        return keras.tree.flatten(self.layer(*operands, **arguments))


class Graph:
    """Calls of layers in the order in which they run.

    Args:
        inputs, outputs: Symbolic tensors, as flat lists.
        calls: All calls but those of input layers.
        structures: Inputs and outputs as the model takes and gives them (one, list, dict).
    """

    def __init__(self, inputs: list, outputs: list, calls: list[Call], structures: tuple):
        self.inputs, self.outputs, self.calls = inputs, outputs, calls
        self.structures = structures
        self._consumers: dict[int, list[Call]] = {}
        for call in calls:
            for tensor in call.inputs:
                self._consumers.setdefault(id(tensor), []).append(call)
        self._producers = {id(tensor): call for call in calls for tensor in call.outputs}
        self._output_ids = {id(tensor) for tensor in outputs}
        self._calls_of: dict[int, list[Call]] = {}
        for call in calls:
            self._calls_of.setdefault(id(call.layer), []).append(call)

    def pack_inputs(self, tensors: list):
        """A flat list of tensors in the structure of the model's inputs (one, list, dict)."""
        return keras.tree.pack_sequence_as(self.structures[0], tensors)

    def pack_outputs(self, tensors: list):
        """A flat list of tensors in the structure of the model's outputs."""
        return keras.tree.pack_sequence_as(self.structures[1], tensors)

    def is_output(self, tensor) -> bool:
        """Whether the model gives this tensor away."""
        return id(tensor) in self._output_ids

    def only_consumer(self, call: Call) -> Call | None:
        """The call that takes the one output of `call`, if nothing else needs that output."""
        if len(call.outputs) != 1 or self.is_output(call.outputs[0]):
            return None
        consumers = self._consumers.get(id(call.outputs[0]), [])
        if len(consumers) != 1 or len(consumers[0].inputs) != 1:
            return None
        return consumers[0]

    def producer(self, tensor) -> Call | None:
        """The call that makes a tensor; None for the model's inputs."""
        return self._producers.get(id(tensor))

    def consumers(self, call: Call) -> list[Call]:
        """The calls that take an output of `call`."""
        return [user for tensor in call.outputs for user in self._consumers.get(id(tensor), [])]

    def users(self, tensor) -> list[Call]:
        """The calls that take a tensor."""
        return self._consumers.get(id(tensor), [])

    def calls_of(self, call: Call) -> list[Call]:
        """All calls of the layer of `call`, in order."""
        return self._calls_of[id(call.layer)]

    def is_shared(self, call: Call) -> bool:
        """Whether the weights of `call` are used elsewhere, so that nothing may absorb it.

        A layer without weights is not shared: each of its calls can be quantized by itself. Nor
        is one whose calls all follow those of one other layer, as inside a shared encoder.
        """
        calls = self.calls_of(call)
        if len(calls) == 1 or not getattr(call.layer, "weights", None):
            return False
        return not self._in_step(calls)

    def _in_step(self, calls):
        before = [self.producer(call.inputs[0]) for call in calls]
        if any(call is None for call in before):
            return False
        return (
            len({id(call.layer) for call in before}) == 1
            and len({id(call) for call in before}) == len(calls) == len(self.calls_of(before[0]))
            and all(self.only_consumer(a) is b for a, b in zip(before, calls, strict=True))
        )


class ModelGraph(Graph):
    """The calls of a functional model; a nested model counts as one layer.

    Args:
        model: A built functional or Sequential model.

    Raises:
        TypeError: The model is no Keras 3 model, or subclassed, so that it has no graph.
        ValueError: A Sequential model that does not know its input shape yet.
    """

    def __init__(self, model):
        functional = functional_of(model)
        calls = []
        for node in _nodes(functional):
            calls.append(
                Call(
                    layer=node.operation,
                    inputs=_taken(node),
                    outputs=list(node.output_tensors),
                    arguments=_given(node.arguments.kwargs),
                    operands=node.arguments.args,
                )
            )
        super().__init__(
            keras.tree.flatten(functional.inputs),
            keras.tree.flatten(functional.outputs),
            calls,
            (functional._inputs_struct, functional._outputs_struct),
        )


def flat_graph(model) -> Graph:
    """The graph of a model with every nested model, at any depth, opened.

    Each call has tensors of its own, also where a nested model is called several times, with
    shapes as they are at that place.

    Args:
        model: A built functional or Sequential model.

    Raises:
        TypeError: The model, or one nested in it, has no graph; as `ModelGraph`.
        ValueError: As `ModelGraph`.
    """
    functional = functional_of(model)
    inputs, calls = keras.tree.flatten(functional.inputs), []
    outputs = _open(functional, inputs, (), calls)
    _distinguish(calls)
    calls = [call for call, _ in calls]
    return Graph(inputs, outputs, calls, (functional._inputs_struct, functional._outputs_struct))


def functional_of(model):
    """The functional model that `model` is, or has inside (Sequential)."""
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        hint = ""
        if "tf_keras" in kind or "keras.src.engine" in kind:
            hint = (
                " It is a tf_keras (Keras 2) model: build it with Keras 3, or, if TFMOT quantized "
                "it, use mobilequant.from_tfmot."
            )
        raise TypeError(f"Expected a Keras 3 model, got {kind}.{hint}")
    if isinstance(model, keras.Sequential):
        functional = getattr(model, "_functional", None)
        if functional is None:
            raise ValueError(
                f"Model {model.name!r}: a Sequential model must know its input shape before it is "
                "quantized; start it with keras.Input(shape) or call model.build(input_shape)."
            )
        return functional
    if not hasattr(model, "_nodes_by_depth"):
        raise TypeError(
            f"Model {model.name!r} ({type(model).__name__}) is a subclassed model: its layers are "
            "called in Python code that cannot be read as a graph. Build it with the functional "
            "API, keras.Model(inputs, outputs)."
        )
    return model


def _nodes(functional):
    """The calls of a functional model in the order in which they run, as Keras holds them."""
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        yield from (node for node in functional._nodes_by_depth[depth] if not node.is_input)


def _taken(node):
    """The tensors that a layer computes on: all but those that only say whose weights it has."""
    keywords = {k: v for k, v in node.arguments.kwargs.items() if k != "weights_of"}
    given = keras.tree.flatten((node.arguments.args, keywords))
    return [tensor for tensor in given if isinstance(tensor, keras.KerasTensor)]


def _open(functional, inputs, path, calls):
    """Appends the (call, path) of all inner layers to `calls`; returns the output tensors."""
    tensors = dict(zip(map(id, keras.tree.flatten(functional.inputs)), inputs, strict=True))
    for node in _nodes(functional):
        operation = node.operation
        operands, arguments = _substitute((node.arguments.args, node.arguments.kwargs), tensors)
        if isinstance(operation, keras.Model):
            inner = functional_of(operation)
            feeds = _feeds(inner, operation.name, operands, arguments)
            outputs = _open(inner, feeds, (*path, operation.name), calls)
        else:
            feeds = [tensors[id(tensor)] for tensor in node.input_tensors]
            outputs = _outputs(node, feeds, operands, arguments)
            call = Call(operation, feeds, outputs, _given(arguments), operands)
            calls.append((call, path))
        tensors |= dict(zip(map(id, node.output_tensors), outputs, strict=True))
    return [tensors[id(tensor)] for tensor in keras.tree.flatten(functional.outputs)]


def _feeds(functional, name, operands, arguments):
    """The tensors that a nested model is called on, in the order of its inputs."""
    given = operands[0] if operands else arguments["inputs"]
    if isinstance(given, dict) and not isinstance(functional._inputs_struct, dict):
        feeds = [given[tensor.name] for tensor in functional.inputs]
    else:
        feeds = keras.tree.flatten(given)
    for tensor, expected in zip(feeds, functional.inputs, strict=True):
        if len(tensor.shape) != len(expected.shape):
            raise ValueError(
                f"Model {name!r} is called on a tensor of shape {tuple(tensor.shape)} and takes "
                f"{tuple(expected.shape)}; put a Reshape layer before it."
            )
    return feeds


def _outputs(node, feeds, operands, arguments):
    """Tensors in place of those of a node, with the shapes that they have here."""
    specs = node.output_tensors
    if any(a.shape != b.shape for a, b in zip(feeds, node.input_tensors, strict=True)):
        specs = keras.tree.flatten(node.operation.compute_output_spec(*operands, **arguments))
    return [keras.KerasTensor(t.shape, dtype=t.dtype, name=t.name) for t in specs]


def _distinguish(calls):
    """Puts the nested model's name before that of a layer which another layer has as well."""
    owners: dict[str, set[int]] = {}
    for call, _ in calls:
        owners.setdefault(call.layer.name, set()).add(id(call.layer))
    for call, path in calls:
        if len(owners[call.layer.name]) > 1:
            call.prefix = "".join(f"{name}_" for name in path)


def _given(arguments: dict) -> dict:
    return {key: value for key, value in arguments.items() if value is not None}


def _substitute(structure: Any, others: dict):
    """A structure with other tensors in the places of its own, by their ids."""
    return keras.tree.map_structure(
        lambda x: others.get(id(x), x) if isinstance(x, keras.KerasTensor) else x, structure
    )
