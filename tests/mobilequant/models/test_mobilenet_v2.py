"""MobileNetV2 at many arguments, right and wrong: what all builders share."""

import keras
import numpy as np
import pytest

from mobilequant.models import MobileNetV2


def test_imagenet_weights_predict_the_same(shared, images):
    path = shared / "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"
    ours = MobileNetV2(input_shape=(96, 96, 3), weights=path)
    theirs = keras.applications.MobileNetV2(input_shape=(96, 96, 3), weights=None)
    theirs.load_weights(path)
    x = images((96, 96, 3))
    np.testing.assert_allclose(
        ours(x, training=False).numpy(), theirs(x, training=False).numpy(), rtol=0, atol=1e-5
    )


def test_backbone_takes_the_weights_of_a_classifier(shared):
    path = shared / "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"
    backbone = MobileNetV2((32, 32, 3), include_top=False, weights=path)
    levels = MobileNetV2((32, 32, 3), include_top=False, weights=path, features=["stride8"])
    classifier = MobileNetV2((32, 32, 3), weights=path)
    for part in (backbone, levels):
        for ours, theirs in zip(part.weights, classifier.weights, strict=False):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("early_strides", "size"), [((2, 2), 1), ((1, 2), 2), ((2, 1), 2), ((1, 1), 4)]
)
def test_early_strides_keep_small_images_large(early_strides, size):
    model = MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, early_strides=early_strides)
    assert model.output_shape == (None, size, size, 1280)
    usual = MobileNetV2((32, 32, 3), alpha=0.35, include_top=False)
    assert [w.shape for w in model.weights] == [w.shape for w in usual.weights]


def test_levels_follow_early_strides():
    backbone = MobileNetV2(
        (32, 32, 3), alpha=0.35, include_top=False, early_strides=(1, 1), features=True
    )
    sizes = {name: tensor.shape[1] for name, tensor in backbone.output.items()}
    assert sizes == {"stride2": 16, "stride4": 8, "stride8": 4}


def test_sizes_may_be_open(images):
    model = MobileNetV2((None, None, 3), 4, alpha=0.35)
    assert model(images((40, 56, 3))).shape == (2, 4)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooling_gives_vectors(images, pooling):
    backbone = MobileNetV2((40, 56, 3), alpha=0.35, include_top=False, pooling=pooling)
    assert backbone(images((40, 56, 3))).shape == (2, 1280)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (224, 224)}, "input_shape must be"),
        ({"input_shape": 224}, "input_shape must be"),
        ({"input_shape": (0, 32, 3)}, "at least 1"),
        ({"input_shape": (32.0, 32, 3)}, "whole sizes"),
        ({"input_shape": (32, 32, 0)}, "1 or 3 channels"),
        ({"input_shape": (3, 224, 224)}, "channels first"),
        ({"alpha": 0}, "alpha must be"),
        ({"alpha": float("nan")}, "alpha must be"),
        ({"alpha": "1.0"}, "alpha must be"),
        ({"classes": 0}, "classes must be"),
        ({"classes": 2.5}, "classes must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"pooling": "avg"}, "include_top=False"),
        ({"include_top": False, "pooling": "mean"}, '"avg" or "max"'),
        ({"include_top": False, "dropout": 0.1}, "include_top=True"),
        ({"classifier_activation": "sofmax"}, "'sofmax' is no Keras activation"),
        ({"early_strides": (1, 3)}, "early_strides must be"),
        ({"early_strides": 1}, "early_strides must be"),
        ({"batch_norm_momentum": 1.0}, "batch_norm_momentum"),
        ({"weights": "imagenet", "alpha": 0.9}, "alpha 0.35, .* not 0.9"),
        ({"weights": "nowhere.weights.h5"}, "no such file"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**{"input_shape": (32, 32, 3), **arguments})
