"""What a model costs: its parameters and multiply-adds."""

import math
from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Count:
    """The size of a model.

    Attributes:
        parameters: of all layers, moving statistics included.
        trainable_parameters: those that training changes.
        multiply_adds: of convolutions and dense layers, for one image.
        attention_multiply_adds: of products of two tensors (`keras.layers.Dot`), for one image.
            timm and the papers' tables leave them out, so `multiply_adds` does too.
    """

    parameters: int
    trainable_parameters: int
    multiply_adds: int
    attention_multiply_adds: int


def count(model: keras.Model) -> Count:
    """Counts the parameters and multiply-adds of a functional or sequential Keras model.

    Layers of nested models count too, and a layer that is called twice counts twice. Layers that
    are neither convolutions nor dense (normalization, activations, pooling) count none.

    Args:
        model: a built model for inputs of a fixed size.

    Raises:
        ValueError: a size is not known, or the model has no graph of layers.
    """
    calls = list(_calls(model))
    return Count(
        parameters=model.count_params(),
        trainable_parameters=sum(math.prod(w.shape) for w in model.trainable_weights),
        multiply_adds=sum(_linear(call) for call in calls),
        attention_multiply_adds=sum(_product(call) for call in calls),
    )


def _calls(model: keras.Model):
    """Every call of a layer on the way from the model's inputs to its outputs."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not hasattr(graph, "_nodes_by_depth"):
        raise ValueError(
            f"{model.name!r} has no graph of layers to count: it must be a functional model, or a "
            "sequential one that is built"
        )
    for nodes in graph._nodes_by_depth.values():
        for node in nodes:
            if isinstance(node.operation, keras.Model):
                yield from _calls(node.operation)
            else:
                yield node


def _linear(call) -> int:
    """Multiply-adds of a call if it is one of a convolution or a dense layer, else 0."""
    layer = call.operation
    if isinstance(layer, keras.layers.Dense):
        return _size(call, call.outputs[0].shape[1:-1]) * math.prod(layer.kernel.shape)
    if not isinstance(layer, _CONVOLUTIONS):
        return 0
    # Every kernel element meets every position once: of the output, or of the input where the
    # kernel is spread over the output.
    spread = isinstance(layer, _TRANSPOSED)
    shape = (call.input_tensors if spread else call.outputs)[0].shape[1:]
    channels = -1 if layer.data_format == "channels_last" else 0
    positions = _size(call, [n for i, n in enumerate(shape) if i != channels % len(shape)])
    kernels = [w for w in layer.weights if len(w.shape) > 1]
    return positions * sum(math.prod(kernel.shape) for kernel in kernels)


def _product(call) -> int:
    """Multiply-adds of a call if it is one of `keras.layers.Dot`, else 0."""
    if not isinstance(call.operation, keras.layers.Dot):
        return 0
    axes = call.operation.axes
    axis = axes if isinstance(axes, int) else axes[0]
    contracted = call.input_tensors[0].shape[axis]
    return _size(call, call.outputs[0].shape[1:]) * _size(call, [contracted])


def _size(call, shape) -> int:
    if None in shape:
        raise ValueError(
            f"{call.operation.name}: its size is not known; build the model with a fixed "
            "input_shape to count multiply-adds"
        )
    return math.prod(shape)


_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_CONVOLUTIONS = (
    *_TRANSPOSED,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
