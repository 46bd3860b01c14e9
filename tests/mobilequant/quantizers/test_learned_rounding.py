"""Learned rounding: the two integers beside each weight, what decides between them, the scale."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mobilequant.quantizers import TERNARY, largest_integer, nearest_integer
from mobilequant.quantizers.learned_rounding import (
    indecision,
    least_error_step,
    neighbours,
    soft_share,
    soft_start,
)

BITS = [1, TERNARY, 2, 3, 4, 7, 8]

#: The integer sets of arXiv:2409.09245, written out.
SETS = {1: [-1, 1], TERNARY: [-1, 0, 1], 2: [-3, -1, 1, 3], 3: range(-3, 4)}

numbers = arrays.arrays("float32", 20, elements=st.floats(-200, 200, width=32))


@pytest.mark.parametrize("bits", BITS)
@settings(deadline=None)
@given(f=numbers)
def test_neighbours_are_the_members_of_the_set_on_both_sides(bits, f):
    below, gap, share = neighbours(f, bits)
    largest = largest_integer(bits)
    members = np.asarray(SETS.get(bits, range(-largest, largest + 1)), "float32")
    assert np.isin(below, members).all() and np.isin(below + gap, members).all()
    assert not np.any((members > below[:, None]) & (members < (below + gap)[:, None]))
    inside = np.clip(f, -largest, largest)
    assert np.all((below <= inside) & (inside <= below + gap))
    np.testing.assert_allclose(below + gap * share, inside, atol=1e-4)
    nearest = np.asarray(nearest_integer(f, bits))
    np.testing.assert_array_equal(np.minimum(abs(nearest - below), abs(nearest - below - gap)), 0)


def test_a_share_starts_where_the_weight_lies_and_reaches_both_ends():
    shares = np.linspace(0, 1, 101, dtype="float32")
    start = soft_start(shares)
    assert np.all(np.isfinite(start))
    np.testing.assert_allclose(soft_share(start), shares, atol=1e-6)
    np.testing.assert_array_equal(soft_share(np.float32([-3, 3])), [0, 1])


@pytest.mark.parametrize("sharpness", [2.0, 20.0])
def test_indecision_pulls_to_the_nearer_end(sharpness):
    share = tf.constant([0.0, 0.02, 0.3, 0.5, 0.7, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(share)
        total = indecision(share, sharpness)
    slope = tape.gradient(total, share).numpy()
    assert indecision(tf.constant([0.0, 1.0]), sharpness) == 0
    np.testing.assert_allclose(indecision(tf.constant([0.5]), sharpness), 1.0)
    assert np.all(slope[[1, 2]] > 0) and slope[3] == 0 and slope[4] < 0
    # The sharper it is, the fewer count that are halfway between.
    assert indecision(share, 20.0) > indecision(share, 2.0)


@pytest.mark.parametrize("bits", BITS)
def test_the_step_errs_least_of_many(bits):
    weights = np.random.default_rng(0).standard_t(4, (3, 3, 16, 8)).astype("float32")
    found = least_error_step(weights, bits)
    top = np.abs(weights).max((0, 1, 2)) / largest_integer(bits)

    def error(step):
        rounded = np.asarray(nearest_integer(weights / step, bits)) * step
        return np.square(rounded - weights).sum((0, 1, 2))

    others = np.min([error(top * share) for share in np.linspace(0.1, 1.2, 600)], axis=0)
    assert np.all(error(found) <= 1.2 * others)
    assert np.all(found <= top * (1 + 1e-6))


def test_what_sparsity_drops_does_not_count():
    weights = np.float32([[4.0], [1.0], [-2.0], [0.5]])
    mask = np.float32([[1], [0], [1], [0]])
    kept = least_error_step(weights[[0, 2]], 3)
    np.testing.assert_array_equal(least_error_step(weights, 3, mask), kept)


def test_a_channel_of_zeros_has_a_step():
    assert least_error_step(np.zeros((4, 2), "float32"), 4).min() > 0
    assert keras.ops.all(keras.ops.isfinite(soft_start(neighbours(np.zeros(3), 4)[2])))
