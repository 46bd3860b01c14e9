"""Random changes: determined by the seed, within their limits."""

import numpy as np
import tensorflow as tf

from mobilequant.data import augmentation

IMAGE = np.arange(16 * 24 * 3, dtype=np.uint32).reshape(16, 24, 3).astype(np.uint8)


def test_the_same_seed_gives_the_same_image():
    for change in (
        lambda seed: augmentation.flip(tf.constant(IMAGE), seed),
        lambda seed: augmentation.shift(tf.constant(IMAGE), seed, "reflect"),
        lambda seed: augmentation.random_crop(tf.constant(IMAGE), seed, (8, 8)),
    ):
        results = {np.asarray(change([n, 0])).tobytes() for n in range(20)}
        assert len(results) > 1
        np.testing.assert_array_equal(change([3, 0]), change([3, 0]))


def test_shift_moves_by_at_most_an_eighth():
    padded = np.pad(IMAGE, [(2, 2), (3, 3), (0, 0)])
    windows = {padded[r : r + 16, c : c + 24].tobytes(): (r, c) for r in range(5) for c in range(7)}
    moves = {
        windows[np.asarray(augmentation.shift(tf.constant(IMAGE), [n, 0], "constant")).tobytes()]
        for n in range(200)
    }
    assert {r for r, _ in moves} == set(range(5)) and {c for _, c in moves} == set(range(7))


def test_random_crop_gives_the_size_asked_for():
    for seed in range(10):
        result = augmentation.random_crop(tf.constant(IMAGE), [seed, 0], (9, 13))
        assert result.shape == (9, 13, 3) and result.dtype == "uint8"


def test_flip_mirrors_left_and_right():
    results = [np.asarray(augmentation.flip(tf.constant(IMAGE), [n, 0])) for n in range(20)]
    mirrored = [np.array_equal(r, IMAGE[:, ::-1]) for r in results]
    assert all(m or np.array_equal(r, IMAGE) for m, r in zip(mirrored, results, strict=True))
    assert 0 < sum(mirrored) < 20
