"""What people complain about elsewhere, and what must not happen here."""

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from tflite_tools import flatbuffer


def pictures(*shape, count=8, high=255, seed=0):
    return np.random.default_rng(seed).uniform(0, high, (count, *shape)).astype("float32")


def written(model, data, folder):
    """The converted file, after every tensor was found equal to Keras."""
    qmodel = mq.calibrate(mq.quantize(model), data, verbose=0)
    tflite_tools.convert(qmodel, folder / "m.tflite", samples=data)
    result = tflite_tools.verify(qmodel, folder / "m.tflite", data, layers=True)
    assert result.first_difference is None, str(result)
    return tflite_tools.inspect(folder / "m.tflite")


def test_a_keras_3_sequential_model_is_taken(tmp_path):
    """TFMOT: "`to_annotate` can only be a `keras.Model` instance" for any model of Keras 3."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Conv2D(8, 3, activation="relu", input_shape=(16, 16, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    assert written(model, pictures(16, 16, 3, high=1), tmp_path).operators


def test_a_nested_backbone_is_taken(tmp_path):
    """TFMOT: "Quantizing a tf.keras Model inside another tf.keras Model is not supported"."""
    keras.utils.set_random_seed(0)
    backbone = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)
    image = keras.Input((32, 32, 3))
    x = backbone(image, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2)(x))
    file = written(model, pictures(32, 32, 3, high=1), tmp_path)
    assert file.operators["DEPTHWISE_CONV_2D", 3] == 13


@pytest.mark.parametrize(
    "name",
    # test_garden.py quantizes, converts and compares the small one, after a shorter training.
    [pytest.param(f"MobileNetV3{size}", marks=pytest.mark.slow) for size in ("Small", "Large")],
)
def test_keras_and_the_file_of_mobilenet_v3_agree_after_training(name, tmp_path):
    """TFMOT: hard-swish is refused, or the file's outputs are far from those of Keras."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)((64, 64, 3), weights=None, classes=10)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    labels = np.arange(32) % 10
    kinds = np.repeat(np.repeat(pictures(8, 8, 3, count=10), 8, 1), 8, 2)
    images = (0.7 * kinds[labels] + 0.3 * pictures(64, 64, 3, count=32)).astype("float32")
    optimizer = keras.optimizers.Adam(3e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(images, labels, batch_size=16, epochs=4, verbose=0)
    qmodel = mq.calibrate(mq.quantize(model), images, verbose=0)
    qmodel.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy", run_eagerly=True)
    qmodel.fit(images, labels, batch_size=16, verbose=0)
    tflite_tools.convert(qmodel, tmp_path / "m.tflite", samples=images[:8])
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", images, layers=True)
    assert result.first_difference is None, str(result)
    assert result.logits.max_steps == 0 and result.logits.span > 50, str(result)


@pytest.mark.parametrize("offset", [0.0, -1.0])
def test_a_leading_rescaling_is_taken(offset, tmp_path):
    """TFMOT: "Layer rescaling … is not supported"."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(1 / 127.5, offset),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )
    file = written(model, pictures(16, 16, 3), tmp_path)
    assert not any(kind == "DEQUANTIZE" for kind, _ in file.operators)


@pytest.mark.parametrize("target", ["phone", "edgetpu"])
def test_dense_layers_run_on_older_devices(target, tmp_path):
    """TensorFlow ≥ 2.16 writes FULLY_CONNECTED 12 with a scale a channel, which devices reject."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    data = pictures(64, high=1)
    qmodel = mq.calibrate(mq.quantize(model, target=target), data, verbose=0)
    path = tmp_path / "m.tflite"
    tflite_tools.convert(qmodel, path)
    file = tflite_tools.inspect(path)
    versions = [version for kind, version in file.operators if kind == "FULLY_CONNECTED"]
    assert versions and max(versions) <= 4
    parsed = flatbuffer.parse(path.read_bytes(), path)
    main = parsed.subgraphs[0]
    for operator in main.operators:
        if flatbuffer.operator_name(parsed, operator) == "FULLY_CONNECTED":
            weights = main.tensors[operator.inputs[1]]
            assert len(weights.quantization.scale) == 1
