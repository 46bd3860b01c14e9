"""Trained weights of ImageNet under the heads of dense tasks."""

import keras
import numpy as np
import pytest

import mobilequant as mq

NAME = "reference/imagenet/mobilenet_v2_1.0_224_imagenet.weights.h5"

#: Layers of the backbone, by the names of `keras.applications`, which are ours as well.
LAYERS = ("block_5_project", "block_16_project_BN")


@pytest.fixture(scope="module")
def published(shared):
    """The network whose file it is, as Keras has it, up to its last feature map."""
    model = keras.applications.MobileNetV2(weights=None)
    model.load_weights(shared / NAME)
    return model


@pytest.mark.parametrize("output_stride", [16, 32])
@pytest.mark.parametrize("head", [mq.models.LRASPP, mq.models.RASPP, mq.models.SSDLite])
def test_an_imagenet_backbone_loads_under_every_head(head, output_stride, shared, published):
    model = head(
        "MobileNetV2",
        3,
        input_shape=(96, 128, 3),
        output_stride=output_stride,
        backbone_weights=shared / NAME,
    )
    for name in LAYERS:
        ours, theirs = (each.get_layer(name).get_weights() for each in (model, published))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_its_features_are_those_of_the_classifier(shared, published):
    """Not only the weights: also what they compute, with the padding of their source."""
    backbone = mq.models.MobileNetV2(include_top=False, weights=shared / NAME)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype("float32")
    ours, theirs = (
        keras.Model(each.input, each.get_layer(LAYERS[-1]).output) for each in (backbone, published)
    )
    np.testing.assert_allclose(ours(image), theirs(image), atol=1e-4)
