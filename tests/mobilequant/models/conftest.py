"""What the tests of the models share: weights under which every layer matters, and images."""

import json

import keras
import numpy as np
import pytest

_RANGES = {
    "gamma": (0.5, 1.5),
    "beta": (-0.5, 1.0),
    "moving_mean": (-0.2, 0.2),
    "moving_variance": (0.5, 1.5),
    "bias": (-1.0, 1.0),
}


def _randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name in _RANGES:
            values = rng.uniform(*_RANGES[variable.name], variable.shape)
        else:  # a kernel: keep the spread that its initializer chose
            values = rng.normal(0, np.std(variable), variable.shape)
        variable.assign(values.astype("float32"))
    return model


@pytest.fixture
def randomize():
    """`randomize(model)` sets all weights, the moving statistics included, and returns it."""
    return _randomize


@pytest.fixture
def images():
    """`images(shape)` is a batch of two images with values in [−1, 1]."""

    def make(shape, count: int = 2) -> np.ndarray:
        return np.random.default_rng(1).uniform(-1, 1, (count, *shape)).astype("float32")

    return make


@pytest.fixture(scope="session")
def architectures(shared) -> dict:
    """The authors' tables by our names of the builders."""
    facts = json.loads((shared / "reference/architectures.json").read_text())
    facts["MobileNetEdgeTPU"] = facts.pop("MobileNetV3EdgeTPU")
    return facts
