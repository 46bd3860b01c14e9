"""Pooling, resizing and moving of images against LiteRT: all integers equal."""

import numpy as np
import pytest
import tensorflow as tf
from against_device import assert_equal, centred, random_codes, random_grid, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.integer import arithmetic

sizes = st.tuples(st.integers(1, 19), st.integers(1, 19))
channels = st.sampled_from([1, 3, 16])


def an_image(seed, size, channels):
    random = np.random.default_rng(seed)
    return random_codes(random, (2, *size, channels)), random_grid(random)


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@settings(max_examples=50, deadline=None)
@given(
    seed=seeds,
    size=sizes,
    channels=channels,
    window=sizes,
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["same", "valid"]),
)
def test_pooling(kind, seed, size, channels, window, strides, padding):
    codes, grid = an_image(seed, size, channels)
    window = tuple(np.minimum(window, size).tolist())
    options = {"pool_size": window, "strides": strides, "padding": padding}
    x = centred(codes, grid)
    if kind == "MAX_POOL_2D":
        ours = arithmetic.max_pool(x, **options)
    else:
        ours = arithmetic.average_pool(x, grid, **options)
    options["padding"] = padding.upper()
    assert_equal(kind, [(codes, grid)], ours, grid, options=options)


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("RESIZE_BILINEAR", arithmetic.resize_bilinear),
        ("RESIZE_NEAREST_NEIGHBOR", arithmetic.resize_nearest),
    ],
)
@settings(max_examples=50, deadline=None)
@given(
    seed=seeds,
    size=sizes,
    wanted=st.one_of(sizes, st.sampled_from([2, 3])),
    channels=channels,
    places=st.sampled_from([(False, False), (True, False), (False, True)]),
)
def test_resizing(kind, function, seed, size, wanted, channels, places):
    codes, grid = an_image(seed, size, channels)
    if isinstance(wanted, int):
        wanted = (size[0] * wanted, size[1] * wanted)
    options = dict(zip(("align_corners", "half_pixel_centers"), places, strict=True))
    ours = function(centred(codes, grid), wanted, **options)
    assert_equal(kind, [(codes, grid)], ours, grid, options=options)


@settings(max_examples=30, deadline=None)
@given(
    seed=seeds,
    shape=st.sampled_from([(2, 9, 8, 7), (2, 9, 8), (2, 9), (2, 3, 4, 5, 6)]),
    strided=st.booleans(),
)
def test_slices(seed, shape, strided):
    random = np.random.default_rng(seed)
    codes, grid = random_codes(random, shape), random_grid(random)
    begin = [int(random.integers(0, n)) for n in shape[1:]]
    end = [
        int(random.integers(first + 1, n + 1)) for first, n in zip(begin, shape[1:], strict=True)
    ]
    options = {"begin": begin}
    strides = [1] * len(begin)
    if strided:
        strides = random.integers(1, 4, len(begin)).tolist()
        options |= {"end": end, "strides": strides}
    window = [slice(*limits) for limits in zip(begin, end, strides, strict=True)]
    ours = centred(codes, grid)[(slice(None), *window)]
    kind = "STRIDED_SLICE" if "end" in options else "SLICE"
    assert_equal(kind, [(codes, grid)], ours, grid, options=options)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, block=st.integers(1, 3), size=st.tuples(*[st.integers(1, 4)] * 3))
def test_depth_and_space(seed, block, size):
    random = np.random.default_rng(seed)
    (height, width, depth), grid, options = size, random_grid(random), {"block": block}
    deep = random_codes(random, (2, height, width, depth * block**2))
    wide = arithmetic.depth_to_space(centred(deep, grid), block)
    assert_equal("DEPTH_TO_SPACE", [(deep, grid)], wide, grid, options=options)
    codes = (wide.numpy() + grid.zero_point).astype(np.int8)
    ours = arithmetic.space_to_depth(wide, block)
    assert_equal("SPACE_TO_DEPTH", [(codes, grid)], ours, grid, options=options)


@pytest.mark.parametrize("permutation", [(0, 2, 1), (0, 3, 1, 2), (0, 2, 1, 3), (0, 4, 2, 1, 3)])
def test_transpose(permutation):
    random = np.random.default_rng(0)
    shape = (2, 3, 4, 5, 6)[: len(permutation)]
    codes, grid = random_codes(random, shape), random_grid(random)
    ours = tf.transpose(centred(codes, grid), permutation)
    options = {"permutation": permutation}
    assert_equal("TRANSPOSE", [(codes, grid)], ours, grid, options=options)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_concatenation(axis):
    random = np.random.default_rng(0)
    grid, shapes = random_grid(random), [[2, 4, 5, 6] for _ in range(3)]
    shapes[1][axis] = 1
    parts = [random_codes(random, shape) for shape in shapes]
    ours = tf.concat([centred(part, grid) for part in parts], axis)
    inputs = [(part, grid) for part in parts]
    assert_equal("CONCATENATION", inputs, ours, grid, options={"axis": axis})
