"""Multiply-adds, counted by hand."""

import keras
import pytest
from keras import layers

import mobilequant.models as models


def _count(inputs, outputs):
    return models.count(keras.Model(inputs, outputs))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: layers.Conv2D(7, 3, strides=2, padding="same"), 4 * 3 * 9 * 6 * 7),
        (lambda: layers.Conv2D(6, (3, 1), groups=3), 6 * 6 * 3 * 2 * 6),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), 6 * 4 * 9 * 6 * 2),
        (lambda: layers.SeparableConv2D(5, 3), 6 * 4 * (9 * 6 + 6 * 5)),
        (lambda: layers.Conv2DTranspose(5, 3, strides=2, use_bias=False), 8 * 6 * 9 * 6 * 5),
        (lambda: layers.Dense(5), 8 * 6 * 6 * 5),
        (lambda: layers.BatchNormalization(), 0),
        (lambda: layers.AveragePooling2D(2), 0),
    ],
)
def test_layers(layer, expected):
    image = keras.Input((8, 6, 6))
    assert _count(image, layer()(image)).multiply_adds == expected


def test_products_of_tensors_count_apart():
    a, b = keras.Input((5, 4)), keras.Input((7, 4))
    count = _count([a, b], layers.Dot(axes=(2, 2))([a, b]))
    assert (count.multiply_adds, count.attention_multiply_adds) == (0, 5 * 7 * 4)


def test_shared_nested_and_sequential():
    image = keras.Input((4, 4, 3))
    conv = layers.Conv2D(3, 1)
    inner = keras.Sequential([keras.Input((4, 4, 3)), conv, layers.BatchNormalization()])
    assert models.count(inner).multiply_adds == 16 * 9
    count = _count(image, conv(conv(inner(image))))
    assert count.multiply_adds == 3 * 16 * 9
    assert (count.parameters, count.trainable_parameters) == (12 + 12, 12 + 6)


def test_what_is_not_part_of_the_model_does_not_count():
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(3, 1)(image)
    layers.Conv2D(100, 3)(x)
    assert _count(image, x).multiply_adds == 16 * 9


def test_open_sizes_and_graphless_models_are_refused():
    with pytest.raises(ValueError, match="Conv_?1.*input_shape"):
        models.count(models.MobileNetV2((None, None, 3), alpha=0.35))

    class Subclass(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="functional model"):
        models.count(Subclass())
