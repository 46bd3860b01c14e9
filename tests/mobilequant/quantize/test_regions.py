"""Which calls stay float, and which of them run as one: over random graphs."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import mobilequant as mq
from mobilequant.layers.entry import QuantizedEntry
from mobilequant.quantize import freeze, infer_tensors
from mobilequant.quantize.graph import ModelGraph
from mobilequant.quantize.regions import Inference, Region, float_names, is_float, steps


@st.composite
def graphs(draw):
    """A model of sums and activations, and the layers of it that stay float."""
    image = keras.Input((4, 4, 2), name="image")
    tensors = [image]
    count = draw(st.integers(2, 8))
    for i in range(count):
        a, b = (tensors[draw(st.integers(0, len(tensors) - 1))] for _ in range(2))
        if draw(st.booleans()):
            tensors.append(keras.layers.Add(name=f"n{i}")([a, b]))
        else:
            tensors.append(keras.layers.Activation("tanh", name=f"n{i}")(tensors[-1]))
    left = [f"n{i}" for i in range(count) if draw(st.booleans())]
    ends = [t for i, t in enumerate(tensors[1:]) if i == count - 1 or draw(st.integers(0, 4)) == 0]
    return keras.Model(image, ends), left


def quantized(model, left):
    return mq.quantize(model, leave_float=[name for name in left if has(model, name)])


def has(model, name):
    return any(layer.name == name for layer in model.layers)


@given(graphs())
@settings(max_examples=25, deadline=None)
def test_each_step_has_what_it_takes(case):
    qmodel = quantized(*case)
    graph = ModelGraph(qmodel)
    known = {id(tensor) for tensor in graph.inputs}
    seen = []
    for step in steps(graph):
        calls = step.calls if isinstance(step, Region) else [step]
        inside = set()
        for call in calls:
            assert all(id(tensor) in known | inside for tensor in call.inputs)
            inside |= {id(tensor) for tensor in call.outputs}
            assert is_float(call) == isinstance(step, Region)
            seen.append(id(call))
        if isinstance(step, Region):
            assert all(id(tensor) in known for tensor in step.inputs)
            # What is not said to be given outside nobody outside takes.
            inside = {id(tensor) for tensor in step.outputs}
        known |= inside
    assert sorted(seen) == sorted(id(call) for call in graph.calls)
    assert all(id(tensor) in known for tensor in graph.outputs)


@given(graphs())
@settings(max_examples=25, deadline=None)
def test_regions_are_as_large_as_they_can_be(case):
    graph = ModelGraph(quantized(*case))
    # Two float calls in a row are in one region, unless the second waits for an int8 tensor
    # that was made of the first.
    of_call = {
        id(call): region
        for region in steps(graph)
        if isinstance(region, Region)
        for call in region.calls
    }
    for call in graph.calls:
        for tensor in call.inputs:
            before = graph.producer(tensor)
            if before is None or not (is_float(call) and is_float(before)):
                continue
            if of_call[id(call)] is not of_call[id(before)]:
                assert returns(graph, call), call.name
    names = float_names(graph)
    assert len(set(names.values())) == len(names)


def returns(graph, call):
    """Whether what a call takes was float, then int8."""
    sources, found = [call], set()
    while sources:
        current = sources.pop()
        if isinstance(current.layer, QuantizedEntry):
            return True
        for tensor in current.inputs:
            producer = graph.producer(tensor)
            if producer is not None and id(producer) not in found:
                found.add(id(producer))
                sources.append(producer)
    return False


@given(graphs())
@settings(max_examples=8, deadline=None)
def test_running_the_calls_again_gives_what_the_model_gives(case):
    qmodel = quantized(*case)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    mq.calibrate(qmodel, x, verbose=0)
    graph = ModelGraph(qmodel)
    again = Inference(graph.calls, graph.inputs, graph.outputs)([x])
    for mine, theirs in zip(again, keras.tree.flatten(qmodel(x, training=False)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    frozen = freeze(qmodel, allow_float=True)
    wanted = {tensor.name for tensor in frozen.tensors if not tensor.internal}
    assert set(infer_tensors(qmodel, x)) == wanted
