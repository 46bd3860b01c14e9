"""MobileNetV2 against `keras.applications`, timm's counts, and wrong arguments."""

import json

import keras
import numpy as np
import pytest

from mobilequant.models import MobileNetV2


def randomize(model: keras.Model, seed: int = 0) -> None:
    """Sets weights under which every layer matters, the moving statistics included."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        low, high = {
            "gamma": (0.5, 1.5),
            "beta": (-0.5, 1.0),
            "moving_mean": (-0.2, 0.2),
            "moving_variance": (0.5, 1.5),
            "bias": (-1.0, 1.0),
        }.get(variable.name, (None, None))
        if low is None:  # a kernel: keep the spread that its initializer chose
            values = rng.normal(0, np.std(variable), variable.shape)
        else:
            values = rng.uniform(low, high, variable.shape)
        variable.assign(values.astype("float32"))


def images(shape, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, *shape)).astype("float32")


@pytest.mark.parametrize(
    ("input_shape", "options"),
    [
        ((96, 96, 3), {"alpha": 0.35, "classes": 10}),
        ((32, 32, 1), {"alpha": 0.5, "classes": 7, "classifier_activation": None}),
        ((33, 47, 3), {"alpha": 0.75, "include_top": False, "pooling": "avg"}),
        ((64, 35, 3), {"alpha": 1.4, "include_top": False, "pooling": "max"}),
        ((65, 65, 3), {"alpha": 1.0, "include_top": False}),
        # Where rounding after cutting and rounding alone give different widths.
        ((32, 32, 3), {"alpha": 17.8 / 32, "include_top": False}),
    ],
)
def test_equals_keras_applications(input_shape, options):
    theirs = keras.applications.MobileNetV2(input_shape=input_shape, weights=None, **options)
    ours = MobileNetV2(input_shape=input_shape, **options)
    randomize(theirs)
    ours.set_weights(theirs.get_weights())

    x = images(input_shape)
    expected = theirs(x, training=False).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(ours(x, training=False).numpy(), expected, rtol=0, atol=1e-5)

    padding = {f"block_{i}_pad" for i in (1, 3, 6, 13)}  # we pad inside the convolution
    their_names = [w.path for w in theirs.weights]
    assert [w.path for w in ours.weights] == their_names
    assert {layer.name for layer in ours.layers if layer.name != "image"} >= {
        layer.name
        for layer in theirs.layers
        if layer.name not in padding and not layer.name.startswith(("input", "global"))
    }
    assert ours.name == theirs.name


def test_imagenet_weights_predict_the_same(shared):
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
    classifier = MobileNetV2((32, 32, 3), weights=path)
    for ours, theirs in zip(backbone.weights, classifier.weights, strict=False):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
def test_weights_files_of_each_kind(tmp_path, suffix):
    saved = MobileNetV2((32, 32, 3), 5, alpha=0.35)
    path = tmp_path / f"model{suffix}"
    saved.save_weights(path) if suffix == ".weights.h5" else saved.save(path)
    loaded = MobileNetV2((32, 32, 3), 5, alpha=0.35, weights=str(path))
    for ours, theirs in zip(loaded.weights, saved.weights, strict=True):
        assert np.array_equal(ours, theirs)


def test_parameter_counts(shared):
    authors = json.loads((shared / "reference/architectures.json").read_text())["MobileNetV2"]
    backbone = MobileNetV2(include_top=False)
    assert backbone.count_params() == authors["total_params_without_classifier"]
    assert _trainable(backbone) == authors["trainable_params_without_classifier"]

    timm = json.loads((shared / "reference/timm_counts.json").read_text())
    for name, alpha in [("050", 0.5), ("100", 1.0), ("140", 1.4)]:
        model = MobileNetV2(alpha=alpha)
        assert _trainable(model) == timm[f"mobilenetv2_{name}"]["params"]


def _trainable(model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize(
    ("early_strides", "size"), [((2, 2), 1), ((1, 2), 2), ((2, 1), 2), ((1, 1), 4)]
)
def test_early_strides_keep_small_images_large(early_strides, size):
    model = MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, early_strides=early_strides)
    assert model.output_shape == (None, size, size, 1280)
    usual = MobileNetV2((32, 32, 3), alpha=0.35, include_top=False)
    assert [w.shape for w in model.weights] == [w.shape for w in usual.weights]


def test_is_a_plain_model_that_trains_and_round_trips(tmp_path):
    model = MobileNetV2((32, 32, 1), 3, alpha=0.35, dropout=0.2, early_strides=(1, 1))
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images((32, 32, 1), 4), np.array([0, 1, 2, 0]), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = images((32, 32, 1))
    np.testing.assert_array_equal(model(x, training=False), loaded(x, training=False))


def test_sizes_may_be_open():
    model = MobileNetV2((None, None, 3), 4, alpha=0.35)
    assert model(images((40, 56, 3))).shape == (2, 4)


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
        ({"weights": "imagenet"}, "keras.applications"),
        ({"weights": "nowhere.weights.h5"}, "no such file"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**{"input_shape": (32, 32, 3), **arguments})


@pytest.mark.parametrize("name", ["damaged.weights.h5", "damaged.keras", "damaged.h5"])
def test_damaged_weights_name_the_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"not a weights file")
    with pytest.raises(ValueError, match=name):
        MobileNetV2((32, 32, 3), 3, alpha=0.35, weights=tmp_path / name)


def test_weights_that_do_not_fit_name_file_and_layer(tmp_path):
    path = tmp_path / "five.weights.h5"
    MobileNetV2((32, 32, 3), 5, alpha=0.35).save_weights(path)
    with pytest.raises(ValueError, match="(?s)five.weights.h5 does not fit.*predictions"):
        MobileNetV2((32, 32, 3), 6, alpha=0.35, weights=path)


def test_a_weights_file_needs_a_known_ending(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="must end in"):
        MobileNetV2((32, 32, 3), weights=path)
