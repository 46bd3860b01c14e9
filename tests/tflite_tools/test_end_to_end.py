"""From a float Keras model to a file that computes the same integers."""

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools


def randomize(model, seed=0):
    """Weights and statistics that lie on nobody's grid, negative and zero gammas among them."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            gamma = random.uniform(0.5, 1.5, shape) * random.choice([1, 1, 1, -1], shape)
            gamma[0] = 0
            layer.gamma.assign(gamma)
            layer.beta.assign(random.normal(0, 0.3, shape))
            layer.moving_mean.assign(random.normal(0, 0.3, shape))
            layer.moving_variance.assign(random.uniform(0.5, 1.5, shape))
        elif isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(random.normal(0, 1, layer.kernel.shape))
    return model


def small_network():
    image = keras.Input((32, 32, 3), name="image")

    def normalized(x, layer, activation=True):
        x = keras.layers.BatchNormalization()(layer(x))
        return keras.layers.ReLU(6.0)(x) if activation else x

    x = normalized(image, keras.layers.Conv2D(8, 3, 2, "same", use_bias=False))
    y = normalized(x, keras.layers.Conv2D(24, 1, use_bias=False))
    y = normalized(y, keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False))
    y = normalized(y, keras.layers.Conv2D(8, 1, use_bias=False), activation=False)
    x = keras.layers.Add()([x, y])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))


def images(count=48, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 3)).astype("float32")


def assert_bit_for_bit(model, path, target, interface):
    qmodel = mq.quantize(model, "w8a8", target=target)
    mq.calibrate(qmodel, images(), verbose=0)
    report = tflite_tools.convert(qmodel, path, interface=interface)
    assert report.target == target
    result = tflite_tools.verify(qmodel, path, images(seed=1), layers=True)
    assert result.first_difference is None or result.first_difference.kind == "SOFTMAX", str(result)
    assert result.max_steps <= 1
    assert result.logits.equal == 1
    assert result.logits.span >= 50
    assert len(result.layers) == sum(report.operators.values()) - report.operators["QUANTIZE"]
    return report


@pytest.mark.parametrize("target", ["phone", "edgetpu"])
@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_small_network(tmp_path, target, interface):
    report = assert_bit_for_bit(
        randomize(small_network()), tmp_path / "m.tflite", target, interface
    )
    quantizes = {"QUANTIZE": 2} if interface == "uint8" else {}
    assert report.operators == {
        "ADD": 1,
        "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 1,
        "FULLY_CONNECTED": 1,
        "MEAN": 1,
        "SOFTMAX": 1,
        **quantizes,
    }


@pytest.mark.slow
def test_mobilenet_v2(tmp_path):
    model = randomize(mq.models.MobileNetV2(input_shape=(32, 32, 3), classes=10))
    assert_bit_for_bit(model, tmp_path / "m.tflite", "phone", "int8")


def test_uncalibrated_model(tmp_path):
    qmodel = mq.quantize(small_network(), "w8a8")
    with pytest.raises(tflite_tools.ConversionError, match="calibrate"):
        tflite_tools.convert(qmodel, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_float_model(tmp_path):
    with pytest.raises(tflite_tools.ConversionError, match="not quantized"):
        tflite_tools.convert(small_network(), tmp_path / "m.tflite")


def test_nan_in_the_weights(tmp_path):
    qmodel = mq.quantize(small_network(), "w8a8")
    mq.calibrate(qmodel, images(8), verbose=0)
    kernel = next(v for v in qmodel.weights if "kernel" in v.path)
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(tflite_tools.ConversionError, match="NaN"):
        tflite_tools.convert(qmodel, tmp_path / "m.tflite")
