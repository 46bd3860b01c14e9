"""Activation memory: LiteRT's own addresses, and a second implementation on random graphs."""

import foreign_files
import frozen_graphs
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_tools import arena, flatbuffer
from tflite_tools.arena import ALIGNMENT, Block
from tflite_tools.emission import emit

#: Files that run, with kernels that take no memory for themselves.
FILES = {
    "own": lambda: emit(frozen_graphs.classifier()),
    "own batch": lambda: emit(frozen_graphs.classifier(), batch_size=3),
    **{
        name: foreign_files.FILES[name]
        for name in ("float32", "float16", "int16x8", "sparse", "int4", "behind")
    },
}


def planned(content):
    """Memory, blocks and offsets of the first subgraph."""
    model = flatbuffer.parse(content)
    graph = arena._Graph(model, model.subgraphs[0])
    blocks = list(graph.blocks())
    offsets = arena.place(blocks, len(graph.operators))
    return arena.activation_memory(model, model.subgraphs[0]), blocks, offsets


def measured(content, blocks):
    """Where LiteRT's reference kernels, which take no memory of their own, have these blocks."""
    interpreter = litert.Interpreter(
        model_content=content, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    addresses = [interpreter.tensor(b.tensor)().__array_interface__["data"][0] for b in blocks]
    return [address - min(addresses) for address in addresses]


def require_what_litert_has(content):
    memory, blocks, offsets = planned(content)
    addresses = measured(content, blocks)
    size = max(a + block.size for a, block in zip(addresses, blocks, strict=True))
    assert memory.arena == size
    assert memory.peak <= memory.arena
    # Small temporaries of some kernels push a tensor or two elsewhere.
    assert np.mean(np.equal(addresses, offsets)) > 0.8


@pytest.mark.parametrize("name", FILES)
def test_arena_of_litert(name):
    require_what_litert_has(FILES[name]())


@pytest.mark.parametrize(
    "name",
    [
        "edgetpu/mobilenet_v1_0.25_128_quant",
        "edgetpu/keras_lstm_mnist_ptq",
        "edgetpu/deeplabv3_mnv2_dm05_pascal_quant",
        "imagenet/tf2_mobilenet_v2_1.0_224_ptq",
    ],
)
def test_arena_of_litert_on_files_of_others(shared, name):
    require_what_litert_has((shared / f"reference/{name}.tflite").read_bytes())


def test_states_and_unpacked_weights_are_kept(shared):
    path = shared / "reference/edgetpu/keras_lstm_mnist_ptq.tflite"
    assert planned(path.read_bytes())[0].persistent == 2 * ALIGNMENT  # two states of 20 values
    assert planned(foreign_files.sparse())[0].persistent == 4 * 64 * 64


def blocks_of(count):
    """Random blocks over `count` operators."""

    def block(numbers):
        tensor, size, first, length = numbers
        return Block(tensor, size, first, min(first + length, count))

    numbers = st.tuples(
        st.integers(0, 99), st.integers(1, 500), st.integers(0, count - 1), st.integers(0, count)
    )
    return st.lists(numbers.map(block), max_size=9)


def best_offsets(block, placed):
    """By trying every multiple of 64: the beginnings of the smallest gaps that hold a block.

    Args:
        block: what is to be placed.
        placed: (offset, block) of those before it.
    """
    taken = [
        (offset, offset + other.size)
        for offset, other in placed
        if other.first <= block.last and block.first <= other.last
    ]
    rooms = {}
    for offset in range(0, max((end for _, end in taken), default=0) + ALIGNMENT, ALIGNMENT):
        below = max((end for start, end in taken if start < offset), default=0)
        above = min((start for start, _ in taken if start >= offset), default=float("inf"))
        if below <= offset < below + ALIGNMENT and above - offset >= block.size:
            rooms[offset] = above - offset
    return {offset for offset, room in rooms.items() if room == min(rooms.values())}


@settings(max_examples=200, deadline=None)
@given(blocks_of(6))
def test_the_largest_first_into_the_smallest_gap(blocks):
    blocks = list({block.tensor: block for block in blocks}.values())
    offsets = dict(zip(blocks, arena.place(blocks, 6), strict=True))
    kept = [block for block in blocks if block.first == 0 and block.last == 6]
    others = [block for block in blocks if block not in kept]
    order = sorted(kept, key=lambda b: b.tensor)
    order += sorted(others, key=lambda b: (-b.size, b.first, b.tensor))
    placed = []
    for block in order:
        assert offsets[block] in best_offsets(block, placed)
        placed.append((offsets[block], block))


@settings(max_examples=200, deadline=None)
@given(blocks_of(6))
def test_nothing_overlaps_and_the_peak_is_a_lower_bound(blocks):
    offsets = arena.place(blocks, 6)
    alive = [sum(b.size for b in blocks if b.first <= i <= b.last) for i in range(7)]
    peak, where = arena.peak_of(blocks, 6)
    assert peak == max(alive)
    if blocks:
        assert alive[min(where, 5)] == peak or alive[6] == peak
    ends = [offset + block.size for offset, block in zip(offsets, blocks, strict=True)]
    assert max(ends, default=0) >= peak
    for i, a in enumerate(blocks):
        assert offsets[i] % ALIGNMENT == 0
        for j, b in enumerate(blocks[:i]):
            if a.first <= b.last and b.first <= a.last:
                assert offsets[i] >= ends[j] or offsets[j] >= ends[i]


def memory_of(*operators, shape=(1, 4, 4, 4), inputs=(0,), outputs=(), shapes=()):
    """Memory of a float graph: (name, inputs, output) by numbers of tensors, all of one shape."""
    count = 1 + max(number for _, ins, out in operators for number in (*ins, out))
    kinds = sorted({name for name, _, _ in operators})
    model = schema.ModelT(
        operatorCodes=[
            schema.OperatorCodeT(builtinCode=getattr(schema.BuiltinOperator, name))
            for name in kinds
        ],
        subgraphs=[
            schema.SubGraphT(
                tensors=[
                    schema.TensorT(shape=dict(shapes).get(i, shape), type=0) for i in range(count)
                ],
                inputs=np.array(inputs),
                outputs=np.array(outputs),
                operators=[
                    schema.OperatorT(
                        opcodeIndex=kinds.index(name), inputs=np.array(ins), outputs=np.array([out])
                    )
                    for name, ins, out in operators
                ],
            )
        ],
        buffers=[schema.BufferT()],
    )
    return arena.activation_memory(model, model.subgraphs[0])


SIZE = 4 * 64


def test_inputs_stay_and_what_nobody_reads_as_well():
    chain = [("EXP", [0], 1), ("EXP", [1], 2), ("EXP", [2], 3), ("EXP", [3], 4)]
    assert memory_of(*chain, outputs=[4]).arena == 3 * SIZE
    assert memory_of(("EXP", [0], 5), *chain, outputs=[4]).arena == 4 * SIZE


def test_sums_overwrite_what_nobody_else_reads():
    two = [("EXP", [0], 1), ("EXP", [0], 2)]
    assert memory_of(*two, ("ADD", [1, 2], 3), ("EXP", [3], 4), outputs=[4]).arena == 3 * SIZE
    # Functions do not, nor sums whose operands are read again, or are inputs of the model, or
    # that are its outputs, or have another size.
    assert memory_of(*two, ("PACK", [1, 2], 3), ("EXP", [3], 4), outputs=[4]).arena == 4 * SIZE
    again = [("EXP", [0], 1), ("ADD", [1, 0], 2), ("PACK", [1, 2], 3)]
    assert memory_of(*again, outputs=[3]).arena == 4 * SIZE
    assert memory_of(("ADD", [0, 0], 1), ("EXP", [1], 2), outputs=[2]).arena == 3 * SIZE
    assert memory_of(("EXP", [0], 1), ("ADD", [1, 0], 2), outputs=[2]).arena == 3 * SIZE
    larger = {1: (1, 4, 4, 1), 2: (1, 4, 4, 1)}
    wide = memory_of(*two, ("ADD", [1, 2], 3), ("EXP", [3], 4), outputs=[4], shapes=larger)
    assert wide.arena == 3 * SIZE and wide.peak == 3 * SIZE


def test_views_take_no_memory():
    steps = [("EXP", [0], 1), ("RESHAPE", [1], 2), ("SQUEEZE", [2], 3), ("PACK", [1, 2, 3], 4)]
    assert memory_of(*steps, outputs=[4]).arena == 3 * SIZE


def test_no_operators():
    assert memory_of(("EXP", [0], 1)).peak_operator == 0
    model = flatbuffer.parse(FILES["own"]())
    model.subgraphs[0].operators = None
    assert arena.activation_memory(model, model.subgraphs[0]).peak_operator is None


def test_too_many_tensors_to_plan(monkeypatch):
    monkeypatch.setattr(arena, "_MOST_TENSORS", 2)
    memory = planned(FILES["own"]())[0]
    assert memory.arena is None and memory.peak > 0
