"""Tables of functions of one tensor against LiteRT, all 256 entries."""

import numpy as np
import pytest
import tensorflow as tf
from against_device import assert_equal, centred, random_codes, seeds, zero_point
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.integer import Constant, arithmetic
from mobilequant.integer.arithmetic import Grid

EVERY_CODE = np.arange(-128, 128).astype(np.int8).reshape(1, 256)

#: Exponents of input scale to output scale, of those ratios that the kernels take; a little less,
#: since the scales are rounded.
RATIOS = {
    kind: tuple((np.log2(np.clip(limits, 2.0**-12, None)) + [0.001, -0.001]).tolist())
    for kind, limits in arithmetic.FUNCTION_RATIOS.items()
}


def grids(random, kind, ratio):
    source = Grid(np.float32(2.0 ** random.uniform(-9, 3)), zero_point(random))
    if kind in arithmetic.FIXED_GRIDS:
        return source, arithmetic.FIXED_GRIDS[kind]
    return source, Grid(np.float32(source.scale * 2.0**-ratio), zero_point(random))


def check(kind, source, output, **options):
    table = arithmetic.function_table(kind, source, output, **options)
    ours = arithmetic.lookup(centred(EVERY_CODE, source), source, table)
    assert_equal(kind, [(EVERY_CODE, source)], ours, output, options=options)


@pytest.mark.parametrize(
    "kind",
    [
        "ABS",
        "ELU",
        "EXP",
        "HARD_SWISH",
        "LOG",
        "LOGISTIC",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "TANH",
    ],  # fmt: skip
)
@settings(max_examples=30, deadline=None)
@given(seed=seeds, data=st.data())
def test_function(kind, seed, data):
    ratio = data.draw(st.floats(*RATIOS.get(kind, (-12, 12))))
    check(kind, *grids(np.random.default_rng(seed), kind, ratio))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, ratio=st.floats(-8, 8), approximate=st.booleans())
def test_gelu(seed, ratio, approximate):
    random = np.random.default_rng(seed)
    check("GELU", *grids(random, "GELU", ratio), approximate=approximate)


@settings(max_examples=80, deadline=None)
@given(
    seed=seeds,
    # On both sides of XNNPACK's limits, and on them.
    ratio=st.one_of(st.floats(-10, 13), st.integers(-9, 8)),
    alpha=st.one_of(
        st.floats(-0.5, 2.0, width=32), st.sampled_from([2.0**-9, 2.0**-8, 0.01, 0.25, 1.0])
    ),
)
def test_leaky_relu_on_both_kernels(seed, ratio, alpha):
    random = np.random.default_rng(seed)
    check("LEAKY_RELU", *grids(random, "LEAKY_RELU", ratio), alpha=alpha)


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    ratio=st.floats(-5, 5),
    shape=st.sampled_from([(7,), (1, 1, 7), (5, 6, 7), (1,)]),
)
def test_prelu(seed, ratio, shape):
    random = np.random.default_rng(seed)
    source, output = grids(random, "PRELU", ratio)
    slopes = Grid(np.float32(2.0 ** random.uniform(-9, 0)), zero_point(random))
    alpha = Constant(random_codes(random, shape), slopes.scale, int(slopes.zero_point))
    codes = random_codes(random, (2, 5, 6, 7))
    ours = arithmetic.prelu(
        centred(codes, source), tf.constant(alpha.centred), source, slopes, output
    )
    assert_equal("PRELU", [(codes, source)], ours, output, constants={1: alpha})


@pytest.mark.parametrize(("kind", "power"), [("RSQRT", -0.5), ("SQRT", 0.5)])
@settings(max_examples=40, deadline=None)
@given(seed=seeds, scale=st.floats(-20, 10), ratio=st.floats(-4, 20))
def test_roots(kind, power, seed, scale, ratio):
    """Of all that the device takes, 0 included."""
    random = np.random.default_rng(seed)
    source = Grid(np.float32(2.0**scale), np.float32(-128))
    check(kind, source, Grid(np.float32(2.0 ** (scale * power - ratio)), zero_point(random)))


def test_prelu_of_one_slope_is_a_table():
    source, output = Grid(np.float32(0.1), np.float32(5)), Grid(np.float32(0.07), np.float32(-9))
    alpha, grid = arithmetic.quantize_alpha(0.3)
    x = centred(EVERY_CODE, source)
    table = arithmetic.function_table("PRELU", source, output, alpha=0.3)
    np.testing.assert_array_equal(
        arithmetic.lookup(x, source, table), arithmetic.prelu(x, alpha, source, grid, output)
    )


def test_unknown_function():
    grid = Grid(np.float32(0.1), np.float32(0))
    with pytest.raises(ValueError, match="'SINE'.*HARD_SWISH"):
        arithmetic.function_table("SINE", grid, grid)


def test_nan_ends_no_evaluation():
    grid = Grid(np.float32(0.1), np.float32(0))
    table = arithmetic.function_table("TANH", grid, arithmetic.FIXED_GRIDS["TANH"])
    found = arithmetic.lookup(tf.constant([np.nan, 0.0]), grid, table).numpy()
    assert found[1] == 0 and -128 <= found[0] <= 127
