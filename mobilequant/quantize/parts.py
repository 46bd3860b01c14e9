"""`keras.ops` that take tensors apart and put them together, as layers that mean the same."""

from __future__ import annotations

import keras
import numpy as np

from mobilequant.layers.selecting import Slice
from mobilequant.quantize.rules import Unsupported


def get_item(call):
    """Parts of a tensor: x[:, 1:-1], x[..., :8], x[:, ::2], and single places of it, x[:, 0]."""
    tensor, key = call.operands
    parts = _along_all(key if isinstance(key, tuple) else (key,), len(tensor.shape))
    if parts is None or parts[0] not in (slice(None), slice(0, None), slice(0, None, 1)):
        raise Unsupported(
            "only slices and single places behind the batch are taken out, as x[:, 2:-2] or "
            "x[..., 0]; for other elements use several slices and keras.ops.concatenate."
        )
    layers = []
    slices = [_slice_of(part, size) for part, size in zip(parts, tensor.shape, strict=True)][1:]
    if any(part != (0, None, 1) for part in slices):
        layers.append(Slice(*zip(*slices, strict=True)))
    if len(call.outputs[0].shape) != len(tensor.shape):
        layers.append(keras.layers.Reshape(_open(call.outputs[0].shape[1:])))
    return layers or [keras.layers.Identity()], [tensor]


def split(call):
    """One slice for each part: a list of what `get_item` gives for one."""
    (tensor,) = call.inputs
    axis = call.layer.axis % len(tensor.shape)
    size = tensor.shape[axis]
    if axis == 0 or size is None:
        raise Unsupported("splits the batch, or a dimension of unknown size.")
    sections = call.layer.indices_or_sections
    if isinstance(sections, int):
        sections = np.arange(1, sections) * (size // sections)
    ends = [0, *(int(index) for index in sections), size]
    chains = []
    for begin, end in zip(ends[:-1], ends[1:], strict=True):
        parts = [(0, None, 1)] * (len(tensor.shape) - 1)
        parts[axis - 1] = (begin, end, 1)
        chains.append(([Slice(*zip(*parts, strict=True))], [tensor]))
    return chains


def concatenate(call):
    axis = call.layer.axis % len(call.inputs[0].shape)
    if axis == 0:
        raise Unsupported("joins examples along the batch; only other dimensions are joined.")
    return [keras.layers.Concatenate(axis=axis)], call.inputs


def stack(call):
    """A concatenation, cut up again: behind the last dimension with the two swapped."""
    rank, count = len(call.inputs[0].shape), len(call.inputs)
    axis = call.layer.axis % (rank + 1)
    if axis == 0 or rank < 2:
        raise Unsupported("stacks along the batch; only other dimensions are stacked.")
    behind = axis == rank
    place = axis - behind
    sizes = list(call.inputs[0].shape[1:])
    sizes.insert(place - 1, count)
    layers = [keras.layers.Concatenate(axis=place), keras.layers.Reshape(_open(sizes))]
    if behind:
        order = list(range(1, rank + 1))
        layers.append(keras.layers.Permute((*order[:-2], order[-1], order[-2])))
    return layers, call.inputs


def _along_all(key, rank):
    """The parts of an index, one a dimension; None where it holds other things than parts."""
    key = [part for part in key if part is not None]
    if not all(part is Ellipsis or isinstance(part, (int, slice)) for part in key):
        return None
    if Ellipsis in key:
        place = key.index(Ellipsis)
        missing = rank + 1 - len(key)
        key = [*key[:place], *[slice(None)] * missing, *key[place + 1 :]]
    return [*key, *[slice(None)] * (rank - len(key))]


def _slice_of(part, size):
    """(begin, end, stride) of one part; the end is None where it is that of the dimension."""
    if part == slice(None):
        return (0, None, 1)
    if size is None:
        raise Unsupported("a part of a dimension of unknown size; give the model a fixed one.")
    if isinstance(part, int):
        return (part % size, part % size + 1, 1)
    begin, end, stride = part.indices(size)
    if stride < 1 or end <= begin:
        raise Unsupported("an empty part, or one in reverse; take it forwards.")
    return (begin, None if end == size else end, stride)


def _open(sizes):
    """Sizes for `Reshape`, which takes one that is unknown."""
    return tuple(-1 if size is None else size for size in sizes)
