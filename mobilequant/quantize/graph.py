"""Reads a Keras functional model as a plain graph: which layer call feeds which.

The only place that looks into Keras' nodes.
"""

from __future__ import annotations

import dataclasses

import keras


@dataclasses.dataclass(eq=False)
class Call:
    """One call of a layer (a shared layer has several).

    Attributes:
        layer: The Keras layer or operation.
        inputs: Symbolic tensors that it takes, in order.
        outputs: Symbolic tensors that it gives.
        arguments: Other arguments of the call.
    """

    layer: keras.Operation
    inputs: list
    outputs: list
    arguments: dict

    @property
    def name(self) -> str:
        return self.layer.name


class ModelGraph:
    """Calls of a functional model in the order in which they run.

    Args:
        model: A built functional or Sequential model.

    Attributes:
        calls: All calls but those of input layers.
        inputs, outputs: The model's symbolic tensors, as flat lists.

    Raises:
        TypeError: The model is no Keras 3 model, or subclassed, so that it has no graph.
        ValueError: A Sequential model that does not know its input shape yet.
    """

    def __init__(self, model):
        functional = _functional(model)
        self._structures = functional._inputs_struct, functional._outputs_struct
        self.inputs = keras.tree.flatten(functional.inputs)
        self.outputs = keras.tree.flatten(functional.outputs)
        self.calls = []
        for depth in sorted(functional._nodes_by_depth, reverse=True):
            for node in functional._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                self.calls.append(
                    Call(
                        layer=node.operation,
                        inputs=list(node.input_tensors),
                        outputs=keras.tree.flatten(node.output_tensors),
                        arguments={
                            key: value
                            for key, value in node.arguments.kwargs.items()
                            if value is not None
                        },
                    )
                )
        self._consumers = {}
        for call in self.calls:
            for tensor in call.inputs:
                self._consumers.setdefault(id(tensor), []).append(call)
        self._producers = {id(tensor): call for call in self.calls for tensor in call.outputs}
        self._output_ids = {id(tensor) for tensor in self.outputs}
        self._calls_of = {}
        for call in self.calls:
            self._calls_of.setdefault(id(call.layer), []).append(call)

    def pack_inputs(self, tensors: list):
        """A flat list of tensors in the structure of the model's inputs (one, list, dict)."""
        return keras.tree.pack_sequence_as(self._structures[0], tensors)

    def pack_outputs(self, tensors: list):
        """A flat list of tensors in the structure of the model's outputs."""
        return keras.tree.pack_sequence_as(self._structures[1], tensors)

    def only_consumer(self, call: Call) -> Call | None:
        """The call that takes the one output of `call`, if nothing else needs that output."""
        if len(call.outputs) != 1 or id(call.outputs[0]) in self._output_ids:
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

    def is_shared(self, call: Call) -> bool:
        """Whether the layer of `call` is called more than once."""
        return len(self._calls_of[id(call.layer)]) > 1


def _functional(model):
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        hint = ""
        if "tf_keras" in kind or "keras.src.engine" in kind:
            hint = " It is a tf_keras (Keras 2) model: build it with Keras 3."
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
