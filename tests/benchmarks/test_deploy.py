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
    x = keras.layers.Conv2D(8, 1, name="block_1_project")(x)
    x = keras.layers.BatchNormalization(name="block_1_project_BN")(x)
    x = keras.layers.Conv2D(8, 1, name="Conv_1")(x)
    x = keras.layers.ReLU(6.0, name="out_relu")(x)
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
    both = keras.Model(model.input, [model.get_layer("out_relu").output, model.output])
    given = np.random.default_rng(0).uniform(-1, 1, (3, 224, 224, 3)).astype("float32")
    (first, said), (second, _) = images.views(given, both, batch_size=2, steps=2, seed=0)
    assert first.shape == (2, 224, 224, 3) and not np.array_equal(first, second)
    for expected, value in zip(both(first, training=False), said, strict=True):
        np.testing.assert_allclose(expected, value, rtol=1e-3, atol=1e-4)
    assert np.abs(first).max() <= 1


def test_hints_are_where_blocks_end():
    from deploy.distillation import ends_of_blocks

    import mobilequant as mq

    model = mq.models.MobileNetV2((32, 32, 3), alpha=0.35, classifier_activation=None)
    hints = ends_of_blocks(mq.quantize(model, "w4a8"))
    assert len(hints) == 18 and hints["Conv_1"] == "out_relu"
    assert hints["block_1_project"] == "block_1_project_BN" and "block_2_project" not in hints
    for name in hints.values():
        assert model.get_layer(name)


def test_relative_error_is_1_for_a_student_that_knows_the_mean_alone():
    from deploy.distillation import relative_error

    teacher = np.random.default_rng(0).normal(2, 3, (4, 5, 5, 3)).astype("float32")
    error = relative_error(teacher, np.full_like(teacher, teacher.mean()))
    assert error.shape == (4,)
    np.testing.assert_allclose(np.mean(error), 1.0, rtol=1e-4)


def test_distillation_is_done_once_and_again_with_other_settings(tmp_path):
    from deploy.distillation import distilled

    model = small_model()
    given = np.random.default_rng(0).uniform(-1, 1, (4, 224, 224, 3)).astype("float32")
    settings = {"steps": 3, "batch_size": 2, "learning_rate": 1e-3, "temperature": 4.0}
    arguments = argparse.Namespace(**settings, seed=0, limit=8)
    made = distilled("student", "w4a8", model, model, given, arguments, tmp_path)
    saved = (tmp_path / "student.keras").stat().st_mtime_ns
    again = distilled("student", "w4a8", model, model, given, arguments, tmp_path)
    assert (tmp_path / "student.keras").stat().st_mtime_ns == saved
    for a, b in zip(made.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    arguments.steps = 2
    distilled("student", "w4a8", model, model, given, arguments, tmp_path)
    assert (tmp_path / "student.keras").stat().st_mtime_ns != saved


def test_compensated_weights_are_on_the_grid_and_better_than_rounded_ones():
    from deploy.rounding import LARGEST, compensated

    random = np.random.default_rng(0)
    weights = random.normal(size=(24, 6))
    inputs = random.normal(size=(500, 8)) @ random.normal(size=(8, 24)) + 0.3
    inputs[:, 3] = 0.0  # a dead channel
    moments = inputs.T @ inputs
    found = compensated(weights, moments)
    scale = np.abs(found).max(0) / LARGEST
    integers = found / scale
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-4)

    def error(candidate):
        return np.square(inputs @ (candidate - weights)).sum()

    scale = np.abs(weights).max(0) / LARGEST
    assert error(found) < 0.3 * error(np.round(weights / scale) * scale)
