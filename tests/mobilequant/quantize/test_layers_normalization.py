"""Rescaling, normalization and batch normalization with nothing before them to fold into."""

import keras
import numpy as np
import pytest
from layer_checks import as_after_training, calibrated, check, kinds_of, outputs, reloaded, sample

import mobilequant as mq

L = keras.layers
SHAPES = {"image": (8, 8, 3), "sequence": (16, 3), "vector": (3,)}


def adapted(**options):
    layer = L.Normalization(**options)
    layer.adapt(np.random.default_rng(0).normal(1, 3, (64, 3)).astype("float32"))
    return layer


LAYERS = {
    "rescaling": lambda: L.Rescaling(0.5, offset=-1.0),
    "rescaling down": lambda: L.Rescaling(1 / 255),
    "rescaling by channel": lambda: L.Rescaling([0.5, -2.0, 1.5], offset=[1.0, 0.0, -1.0]),
    "normalization": lambda: L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 4.0]),
    "normalization by one": lambda: L.Normalization(axis=None, mean=0.1, variance=4.0),
    "normalization adapted": adapted,
    "normalization inverted": lambda: adapted(invert=True),
    "batch normalization": L.BatchNormalization,
    "batch normalization without": lambda: L.BatchNormalization(scale=False, center=False),
    "layer scale": lambda: mq.layers.LayerScale(0.5),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layer", LAYERS)
def test_alone(layer, shape, tmp_path):
    model = keras.Sequential([keras.Input(SHAPES[shape]), LAYERS[layer]()])
    qmodel = check(as_after_training(model), tmp_path)
    assert kinds_of(qmodel).count("DEPTHWISE_CONV_2D") == 1
    assert len(kinds_of(qmodel)) == (1 if shape == "image" else 3)
    reloaded(qmodel, tmp_path)


def test_what_stands_before_a_backbone_is_one_operator(tmp_path):
    """As EfficientNet begins."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Rescaling(1 / 255),
            L.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.05, 0.05, 0.05]),
            L.Rescaling([2.1, 2.0, 1.9]),
            L.ZeroPadding2D(((0, 1), (0, 1))),
            L.Conv2D(4, 3, 2),
        ]
    )
    qmodel = check(model, tmp_path)
    assert kinds_of(qmodel) == ["DEPTHWISE_CONV_2D", "CONV_2D"]


def test_a_leading_rescaling_is_exact():
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Rescaling(1 / 127.5, offset=-1.0)])
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype("float32")
    images[0, 0, 0] = 0, 255, 128
    qmodel = mq.calibrate(mq.quantize(model), images, verbose=0)
    step = float(qmodel.layers[-1].output_quantizer.grid().scale)
    error = np.abs(outputs(qmodel, images)[0] - outputs(model, images)[0])
    assert error.max() < 0.51 * step + 1e-6


def test_batch_normalization_trains():
    model = keras.Sequential(
        [keras.Input((16, 3)), L.BatchNormalization(), L.Conv1D(4, 3), L.ReLU()]
    )
    qmodel = calibrated(as_after_training(model))
    before = [np.array(weight) for weight in qmodel.trainable_weights]
    qmodel.compile("adam", "mse", jit_compile=False)
    qmodel.fit(sample(model), np.zeros((16, 14, 4)), verbose=0)
    assert len(before) == 4
    for weight, former in zip(qmodel.trainable_weights, before, strict=True):
        assert not np.array_equal(weight, former), weight.path


def test_what_is_not_a_factor_a_channel_is_refused_by_name():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Rescaling(np.ones((8, 8, 3)), name="by_pixel")]
    )
    with pytest.raises(ValueError, match=r"'by_pixel' \(Rescaling\): values of shape"):
        mq.quantize(model)
    model = keras.Sequential([keras.Input((8, 8, 3)), L.BatchNormalization(axis=1, name="rows")])
    with pytest.raises(ValueError, match="'rows' normalizes dimension 1"):
        mq.quantize(model)


@pytest.mark.parametrize("layer", LAYERS)
def test_low_precision_leaves_them_in_float(layer):
    model = keras.Sequential([keras.Input((8, 8, 3)), LAYERS[layer](), L.Conv2D(4, 3)])
    model = as_after_training(model)
    x = sample(model)
    np.testing.assert_allclose(
        outputs(mq.quantize(model, "w4a4"), x)[0], outputs(model, x)[0], atol=1e-3
    )
