"""A model as a chain of blocks: where it is cut, and that nothing is lost."""

import keras
import pytest

import mobilequant as mq
from mobilequant.layers import FoldedLayer
from mobilequant.quantize.blocks import MOST_WEIGHTED, blocks_of
from mobilequant.quantize.graph import flat_graph

layers = keras.layers


def weighted(block):
    return [call.name for call in block.calls if isinstance(call.layer, FoldedLayer)]


def blocks(model):
    graph = flat_graph(mq.quantize(model))
    found = blocks_of(graph)
    # Every call once, in order, and nothing that a block takes is missing.
    assert [call for block in found for call in block.calls] == graph.calls
    known = {id(tensor) for tensor in graph.inputs}
    for block in found:
        assert {id(tensor) for tensor in block.inputs} <= known
        known |= {id(tensor) for tensor in block.outputs}
    # What the model gives is there, or what its softmax takes.
    for tensor in graph.outputs:
        assert id(tensor) in known or id(graph.producer(tensor).inputs[0]) in known
    return found


def test_inverted_bottlenecks_come_out_whole():
    found = blocks(mq.models.MobileNetV2((224, 224, 3), 10, alpha=0.35))
    assert all(len(block.inputs) == len(block.outputs) == 1 for block in found)
    assert weighted(found[2]) == ["block_2_expand", "block_2_depthwise", "block_2_project"]
    # What comes before the global average has all its places to learn from.
    assert weighted(found[-2]) == ["Conv_1"] and weighted(found[-1]) == ["predictions_logits"]
    # The scores, not what softmax makes of them.
    (scores,) = found[-1].outputs
    assert scores is found[-1].calls[-1].inputs[0]


@pytest.mark.parametrize(
    "build",
    [
        lambda: mq.models.MobileNetV3Small((32, 32, 3), 10),
        lambda: mq.models.MobileNetV4ConvSmall((64, 64, 3), 10),
        lambda: mq.models.LRASPP("MobileNetV2", 3, input_shape=(64, 64, 3), alpha=0.35),
        lambda: mq.models.SSDLite("MobileNetV2", 3, input_shape=(96, 96, 3), alpha=0.35),
    ],
    ids=["squeeze and excitation", "V4", "LR-ASPP", "SSDLite"],
)
def test_no_block_is_large(build):
    found = blocks(build())
    assert max(len(weighted(block)) for block in found) <= MOST_WEIGHTED
    # Tensors that are kept for a head do not keep the backbone in one piece.
    assert sum(len(block.outputs) <= 3 for block in found) >= len(found) // 2


def test_a_chain_is_cut_by_count():
    x = image = keras.Input((8, 8, 3))
    for i in range(12):
        x = layers.Conv2D(4, 1, name=f"conv_{i}")(x)
    assert [len(weighted(block)) for block in blocks(keras.Model(image, x))] == [3, 3, 3, 3]


def test_outputs_on_the_way_are_wanted():
    image = keras.Input((8, 8, 3))
    early = layers.Conv2D(4, 1, name="early")(image)
    x = early
    for i in range(MOST_WEIGHTED):
        x = layers.Conv2D(4, 1, name=f"conv_{i}")(x)
    found = blocks(keras.Model(image, [early, x]))
    assert sum(len(weighted(block)) for block in found) == MOST_WEIGHTED + 1
