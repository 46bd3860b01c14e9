"""Layers that stay on the CPU beside an Edge TPU, by their sizes."""

import numpy as np
import pytest

from mobilequant import targets
from mobilequant.integer.graph import FrozenGraph, Operator, Tensor
from tflite_tools.cpu_layers import cpu_layers

EDGETPU = targets.get("edgetpu")


def chain(*steps, shape=(8, 8, 4)):
    """Operators one after the other, as (kind, shape of the output)."""
    tensors = [Tensor("image", shape, np.float32(1), 0)]
    operators = []
    for number, (kind, output) in enumerate(steps, start=1):
        tensors.append(Tensor(f"t{number}", output, np.float32(1), 0))
        operators.append(Operator(kind, f"layer{number}", [tensors[-2]], [tensors[-1]]))
    return FrozenGraph("chain", "edgetpu", tensors[:1], tensors[-1:], operators)


def found(*steps, target=EDGETPU, batch_size=1, **options):
    layers = cpu_layers(chain(*steps, **options), target, batch_size)
    return [(layer.name, layer.behind) for layer in layers]


@pytest.mark.parametrize(
    ("kind", "shape", "stays"),
    [
        ("CONV_2D", (1, 4, 4, 8), False),
        ("ADD", (2, 4, 4, 8), True),
        ("SOFTMAX", (16000,), False),
        ("SOFTMAX", (1, 1, 1001), False),
        ("SOFTMAX", (16001,), True),
        ("SOFTMAX", (270, 4), True),
        ("FULLY_CONNECTED", (1, 10), False),
        ("FULLY_CONNECTED", (49, 10), True),
        ("RESIZE_BILINEAR", (32, 32, 64), False),
        ("RESIZE_BILINEAR", (513, 513, 21), True),
        ("RESIZE_NEAREST_NEIGHBOR", (64, 64, 128), True),
        ("LOGISTIC", (3234, 91), False),
        ("ARG_MAX", (8,), True),
    ],
)
def test_sizes(kind, shape, stays):
    one = ("RESHAPE", shape) if kind in ("SOFTMAX", "FULLY_CONNECTED") else ("CONV_2D", (8, 8, 4))
    assert found(one, (kind, shape)) == ([("layer2", 0)] if stays else [])


def test_what_is_behind_stays_as_well():
    steps = ("RESIZE_BILINEAR", (256, 256, 8)), ("CONV_2D", (256, 256, 8)), ("ARG_MAX", (256, 256))
    assert found(*steps) == [("layer1", 2)]
    (layer,) = cpu_layers(chain(*steps), EDGETPU)
    assert str(layer) == (
        "'layer1', RESIZE_BILINEAR of 1×256×256×8: at most 278783 elements are known to be taken; "
        "with it 2 operators behind it"
    )


def test_branches_are_told_apart():
    image = Tensor("image", (8, 8, 4), np.float32(1), 0)
    names = "mapped", "indices", "large"
    shapes = (8, 8, 4), (8, 8), (256, 256, 8)
    kinds = "CONV_2D", "ARG_MAX", "RESIZE_BILINEAR"
    operators = [
        Operator(kind, name, [image], [Tensor(name, shape, np.float32(1), 0)])
        for kind, name, shape in zip(kinds, names, shapes, strict=True)
    ]
    graph = FrozenGraph("branches", "edgetpu", [image], [], operators)
    assert [layer.name for layer in cpu_layers(graph, EDGETPU)] == ["indices", "large"]


def test_a_batch_is_a_dimension():
    assert found(("CONV_2D", (8, 8, 4)), batch_size=2) == [("layer1", 0)]


def test_a_phone_is_all_cpu():
    assert found(("SOFTMAX", (270, 4)), target=targets.get("phone")) == []
