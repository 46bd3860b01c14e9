"""The deployment benchmark: what can be tested of it without its minutes of training."""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def importable():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


def small_model():
    keras.utils.set_random_seed(0)
    image = keras.Input((224, 224, 3))
    x = keras.layers.Conv2D(4, 8, 8, name="first")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(8, 1, activation="relu", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, name="last")(x))


def test_softened_divergence():
    from deploy.distillation import softened

    random = np.random.default_rng(0)
    teacher, student = random.normal(0, 3, (2, 5, 7)).astype("float32")
    p, q = (np.exp(x / 4) / np.exp(x / 4).sum(-1, keepdims=True) for x in (teacher, student))
    expected = 16 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(softened(4.0)(teacher, student), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(softened(4.0)(teacher, teacher), 0, atol=1e-5)


def test_views_are_other_each_time_and_the_teachers_word_is_theirs():
    from deploy import images

    model = small_model()
    given = np.random.default_rng(0).uniform(-1, 1, (3, 224, 224, 3)).astype("float32")
    (first, said), (second, _) = images.views(given, model, batch_size=2, steps=2, seed=0)
    assert first.shape == (2, 224, 224, 3) and not np.array_equal(first, second)
    np.testing.assert_allclose(model(first, training=False), said, rtol=1e-3, atol=1e-4)
    assert np.abs(first).max() <= 1


def test_distillation_is_done_once_and_again_with_other_settings(tmp_path):
    from deploy.distillation import distilled

    model = small_model()
    given = np.random.default_rng(0).uniform(-1, 1, (4, 224, 224, 3)).astype("float32")
    settings = {"steps": 3, "batch_size": 2, "learning_rate": 1e-3, "temperature": 4.0}
    arguments = argparse.Namespace(**settings, seed=0, limit=8)
    made = distilled("student", "w4a8", model, given, arguments, tmp_path)
    saved = (tmp_path / "student.keras").stat().st_mtime_ns
    again = distilled("student", "w4a8", model, given, arguments, tmp_path)
    assert (tmp_path / "student.keras").stat().st_mtime_ns == saved
    for a, b in zip(made.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    arguments.steps = 2
    distilled("student", "w4a8", model, given, arguments, tmp_path)
    assert (tmp_path / "student.keras").stat().st_mtime_ns != saved
