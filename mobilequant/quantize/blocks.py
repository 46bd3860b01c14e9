"""A model as a chain of blocks, each of a few layers with weights."""

from __future__ import annotations

import dataclasses
import math

from mobilequant.layers import FoldedLayer, QuantizedSoftmax
from mobilequant.layers.selecting import ArgMax
from mobilequant.quantize.graph import Call, Graph

#: Layers with weights above which what runs side by side is cut, too: an inverted bottleneck with
#: squeeze and excitation has five.
MOST_WEIGHTED = 5

#: Layers with weights up to which neighbours become one block: an inverted bottleneck.
MERGED = 3

#: Neighbours stay apart where the places of an image become fewer by more than this factor: behind
#: a global average there is one number a channel and image left to learn from.
MOST_SHRINKING = 16


@dataclasses.dataclass(eq=False)
class Block:
    """Consecutive calls.

    Attributes:
        calls: In the order in which they run.
        inputs: Symbolic tensors that they take from outside.
        outputs: Those of their symbolic tensors that calls behind them take, or that are wanted
            of the model (what its softmax takes, not what it gives).
    """

    calls: list[Call]
    inputs: list
    outputs: list


def blocks_of(graph: Graph) -> list[Block]:
    """Cuts a graph where the fewest tensors lead from one side to the other.

    Residual blocks come out whole, since two tensors run side by side in them; what a model keeps
    for later (for a pyramid of features, say) does not hinder that.

    Args:
        graph: Of a quantized model.
    """
    calls, wanted = graph.calls, [_scores(graph, tensor) for tensor in graph.outputs]
    last = {id(tensor): i for i, call in enumerate(calls) for tensor in call.inputs}
    alive, counts = {id(tensor) for tensor in graph.inputs}, []
    for i, call in enumerate(calls):
        alive |= {id(tensor) for tensor in call.outputs}
        alive = {tensor for tensor in alive if last.get(tensor, -1) > i}
        counts.append(len(alive))
    weighted = [isinstance(call.layer, FoldedLayer) for call in calls]
    places = [math.prod(n or 1 for n in call.outputs[0].shape[1:-1]) for call in calls]
    parts = _merged(_split(0, len(calls), counts, weighted), weighted, places)
    return [_block(calls[start:stop], stop, last, wanted) for start, stop in parts]


def _scores(graph, tensor):
    """What a softmax or an argmax takes that gives this tensor; else the tensor."""
    call = graph.producer(tensor)
    while call is not None and isinstance(call.layer, (QuantizedSoftmax, ArgMax)):
        tensor = call.inputs[0]
        call = graph.producer(tensor)
    return tensor


def _split(start, stop, counts, weighted):
    """Ranges of calls: cut at the fewest tensors, again where too many weights are left."""
    if stop - start < 2 or sum(weighted[start:stop]) <= MOST_WEIGHTED:
        return [(start, stop)]
    fewest = min(counts[start : stop - 1])
    ends = [i + 1 for i in range(start, stop - 1) if counts[i] == fewest] + [stop]
    parts, begin = [], start
    for end in ends:
        parts += _split(begin, end, counts, weighted)
        begin = end
    return parts


def _merged(parts, weighted, places):
    merged = parts[:1]
    for start, stop in parts[1:]:
        shrinks = places[stop - 1] * MOST_SHRINKING < places[start - 1]
        if sum(weighted[merged[-1][0] : stop]) <= MERGED and not shrinks:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return merged


def _block(calls, stop, last, wanted):
    made = {id(tensor) for call in calls for tensor in call.outputs}
    inputs = {id(t): t for call in calls for t in call.inputs if id(t) not in made}
    outputs = [
        tensor
        for call in calls
        for tensor in call.outputs
        if last.get(id(tensor), -1) >= stop or any(tensor is other for other in wanted)
    ]
    return Block(calls, list(inputs.values()), outputs)
