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
    x = keras.layers.Conv2D(8, 1, name="middle")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, name="last")(x))


def test_a_network_is_made_once_and_again_with_other_settings(tmp_path):
    from deploy.quantized import kept

    model = small_model()
    given = np.random.default_rng(0).uniform(-1, 1, (4, 224, 224, 3)).astype("float32")
    arguments = argparse.Namespace(steps=3, views=1, seed=0, limit=8, measure="odd")

    def make(method="reconstructed"):
        made = kept("student", "w4a8", method, model, given, arguments, tmp_path)
        return made.get_weights(), (tmp_path / "student.keras").stat().st_mtime_ns

    first, when = make()
    again, then = make()
    assert then == when
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    arguments.steps = 2
    _, then = make()
    assert then != when
    assert make("calibrated")[1] != then


def test_what_is_learned_from_is_not_measured_on(shared):
    from deploy import images

    (learned, measured, labels), (others, rest, _) = (
        images.halves(8, measure) for measure in ("even", "odd")
    )
    assert len(learned) == len(measured) == len(labels) == 4
    np.testing.assert_array_equal(learned, rest)
    np.testing.assert_array_equal(measured, others)
    assert not {x.tobytes() for x in learned} & {x.tobytes() for x in measured}


def test_views_are_other_each_time_and_in_range():
    from deploy import images

    given = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype("float32")
    seen = images.with_views(given, 2, seed=0)
    assert seen.shape == (6, 224, 224, 3) and seen.dtype == "float32" and np.abs(seen).max() <= 1
    np.testing.assert_array_equal(seen[:2], given)
    assert len({image.tobytes() for image in seen}) == 6
    np.testing.assert_array_equal(seen, images.with_views(given, 2, seed=0))


def test_every_file_has_a_name_of_its_own():
    from deploy import files

    assert len(set(files.NAMES)) == len(files.NAMES) == 16
    assert "w4a8*, reconstructed, INT4" in files.NAMES
