"""Our batch normalization against Keras' layer, differentiated automatically."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilequant.layers.normalization import batch_normalize, inference_factors


def layer(channels, seed=0, **kwargs):
    random = np.random.default_rng(seed)
    normalization = keras.layers.BatchNormalization(momentum=0.9, **kwargs)
    normalization.build((None, None, None, channels))
    for variable in normalization.weights:
        values = random.uniform(0.5, 1.5, size=variable.shape)
        if variable.name in ("gamma", "beta"):
            values *= random.choice([-1, 1], size=variable.shape)
        variable.assign(values)
    return normalization


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_training_equals_keras(options):
    ours, theirs = layer(6, **options), layer(6, **options)
    random = np.random.default_rng(1)
    x = tf.constant(random.normal(2.0, 3.0, size=(4, 5, 3, 6)).astype("float32"))
    upstream = tf.constant(random.normal(size=x.shape).astype("float32"))

    def run(function, normalization):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        variables = [v.value for v in normalization.trainable_variables]
        return y, *tape.gradient(y, [x, *variables], upstream)

    mine = run(lambda v: batch_normalize(v, ours, tf.constant(False)), ours)
    reference = run(lambda v: theirs(v, training=True), theirs)
    for a, b in zip(mine, reference, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)


def test_frozen_uses_the_moving_statistics_and_keeps_them():
    normalization, reference = layer(6), layer(6)
    reference.trainable = False
    x = tf.constant(np.random.default_rng(1).normal(size=(4, 5, 3, 6)).astype("float32"))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = batch_normalize(x, normalization, tf.constant(True))
        expected = reference(x, training=True)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(tape.gradient(y, x), tape.gradient(expected, x), atol=1e-5)
    for a, b in zip(normalization.weights, reference.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_layer_that_is_not_trainable_behaves_as_in_keras():
    normalization = layer(6)
    normalization.trainable = False
    x = tf.constant(np.random.default_rng(1).normal(size=(4, 5, 3, 6)).astype("float32"))
    y = batch_normalize(x, normalization, tf.constant(False))
    np.testing.assert_allclose(y, normalization(x, training=True), atol=1e-5)


def test_inference_factors():
    normalization = layer(6)
    x = tf.constant(np.random.default_rng(1).normal(size=(4, 5, 3, 6)).astype("float32"))
    bias = tf.constant(np.linspace(-1, 1, 6).astype("float32"))
    factor, offset = inference_factors(normalization, bias)
    np.testing.assert_allclose(x * factor + offset, normalization(x + bias), atol=1e-5)
