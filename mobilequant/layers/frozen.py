"""Small pieces of frozen graphs, for layers that are several operators on a device."""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from mobilequant import integer


def inner(name: str, shape, like: integer.Tensor) -> integer.Tensor:
    """A tensor inside of one layer.

    Args:
        name: Unique in the graph.
        shape: Without the batch.
        like: A tensor on the grid that it has.
    """
    return integer.Tensor(name, tuple(shape), like.scale, like.zero_point, internal=True)


def on_grid(name: str, shape, grid) -> integer.Tensor:
    """A tensor inside of one layer, on a `Grid` of Keras' inference."""
    scale, zero_point = (ops.convert_to_numpy(number) for number in grid)
    return integer.Tensor(name, tuple(shape), np.float32(scale), int(zero_point), internal=True)


def copy(kind: str, name: str, source, output, **options) -> integer.Operator:
    """An operator that moves integers from one tensor to another on the same grid."""
    return integer.Operator(kind, name, [source], [output], options=options)


def reshape_before(name: str, source, shape):
    """`source` in another shape: (operators, tensor), without an operator where it has it.

    Args:
        name: Of the layer and what the tensor is for, as "pool/image".
        source: The tensor.
        shape: Without the batch.
    """
    if tuple(source.shape) == tuple(shape):
        return [], source
    tensor = inner(name, shape, source)
    return [copy("RESHAPE", name, source, tensor)], tensor


def reshape_after(name: str, shape, output):
    """What becomes `output` once reshaped: (tensor, operators)."""
    if tuple(output.shape) == tuple(shape):
        return output, []
    tensor = inner(name, shape, output)
    return tensor, [copy("RESHAPE", output.name, tensor, output)]


def rescale_before(name: str, source, like):
    """`source` on the grid of `like`: (operators, tensor)."""
    if source.same_grid(like):
        return [], source
    tensor = inner(name, source.shape, like)
    return [copy("QUANTIZE", name, source, tensor)], tensor


def as_image(shape) -> tuple:
    """A shape without the batch as height, width and channels."""
    *size, channels = shape
    if len(size) > 2:
        size = [math.prod(size)]
    return (*(1,) * (2 - len(size)), *size, channels)


def image_frame(name: str, source, output):
    """RESHAPEs around an operator on images, where a layer's tensors have other ranks.

    Args:
        name: Of the layer.
        source, output: The layer's tensors.

    Returns:
        operators before it, the image that it takes, the one that it gives, operators behind it.
    """
    before, image = reshape_before(f"{name}/image", source, as_image(source.shape))
    result, after = reshape_after(f"{name}/result", as_image(output.shape), output)
    return before, image, result, after
