"""Hard-swish, squeeze-excite, attention, GELU, layer scale, lone batch normalization: integers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilequant as mq
import tflite_tools
from mobilequant.layers.base import QuantizedLayer
from mobilequant.quantize import freeze
from mobilequant.quantize.graph import ModelGraph


def normalize(x, name=None):
    return keras.layers.BatchNormalization(name=name)(x)


def convolve(x, filters, kernel=1, strides=1, **kwargs):
    kwargs.setdefault("use_bias", False)
    return keras.layers.Conv2D(filters, kernel, strides, padding="same", **kwargs)(x)


def activate(x, function, name=None):
    return keras.layers.Activation(function, name=name)(x)


def squeeze_excite(x):
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = convolve(gate, 8, activation="relu", use_bias=True)
    gate = activate(convolve(gate, x.shape[-1], use_bias=True), "hard_sigmoid", "gate")
    return keras.layers.Multiply(name="excite")([x, gate])


def attention(x, heads=2, size=8):
    height, width, channels = x.shape[1:]
    y = normalize(x, "norm")
    query = keras.layers.Rescaling(size**-0.5)(convolve(y, heads * size))
    query = keras.layers.Reshape((height * width * heads, size))(query)
    pooled = normalize(keras.layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(y))
    key, value = (
        keras.layers.Reshape((height * width // 4, size))(convolve(pooled, size, name=name))
        for name in ("key", "value")
    )
    scores = keras.layers.Softmax()(keras.layers.Dot((2, 2), name="scores")([query, key]))
    mixed = keras.layers.Dot((2, 1), name="mixed")([scores, value])
    y = convolve(keras.layers.Reshape((height, width, heads * size))(mixed), channels)
    y = mq.layers.StochasticDepth(0.1)(mq.layers.LayerScale()(y))
    return keras.layers.Add()([x, y])


def garden_model(with_attention=True):
    """Each kind of operator that MobileNetV3 and V4 have beyond V2."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3), name="image")
    x = activate(normalize(convolve(image, 16, 3, 2)), "hard_silu")
    y = normalize(keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    y = squeeze_excite(activate(y, "hard_silu"))
    y = mq.layers.LayerScale()(normalize(convolve(y, 16)))
    x = keras.layers.Add()([x, y])
    if with_attention:
        x = attention(x)
        x = activate(normalize(convolve(x, 16)), "gelu", "gelu")
    features = activate(keras.layers.Add()([x, y]), "hard_silu", "features")
    y = keras.layers.GlobalAveragePooling2D(keepdims=True)(features)
    y = activate(convolve(y, 32, use_bias=True), "hard_silu")
    y = keras.layers.Dense(10)(keras.layers.Flatten()(y))
    model = keras.Model(image, {"logits": y, "stride2": features})
    return as_after_training(model)


def as_after_training(model):
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.gamma.assign(random.uniform(0.5, 2, size) * random.choice([-1, 1], size))
            layer.beta.assign(random.normal(size=size))
            layer.moving_mean.assign(random.normal(size=size) * 0.3)
            layer.moving_variance.assign(random.uniform(0.2, 2, size))
        if isinstance(layer, mq.layers.LayerScale):
            layer.gamma.assign(random.normal(size=layer.gamma.shape))
    return model


def images(count=32, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 16, 16, 3)).astype("float32")


@pytest.mark.parametrize(
    ("recipe", "estimator"),
    [
        ("w8a8", "denoise"),
        ("w4a8", "ste"),
        pytest.param("w8a8", "lsq", marks=pytest.mark.slow),
    ],
)
def test_every_tensor_of_the_file_equals_keras_after_training(recipe, estimator, tmp_path):
    qmodel = mq.calibrate(
        mq.quantize(garden_model(), recipe, estimator=estimator), images(), verbose=0
    )
    assert set(qmodel.output) == {"logits", "stride2"}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    qmodel.compile(keras.optimizers.Adam(1e-3), {"logits": loss}, jit_compile=False)
    qmodel.fit(images(), {"logits": np.arange(32) % 10}, verbose=0)
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    path = tmp_path / "m.tflite"
    report = tflite_tools.convert(loaded, path, samples=images(8, seed=1))
    assert set(report.operators) == {
        "ADD", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "GELU", "MEAN",
        "MUL", "RESHAPE", "SOFTMAX",
    }  # fmt: skip
    result = tflite_tools.verify(qmodel, path, images(32, seed=2), layers=True)
    assert result.first_difference is None and result.span > 50
    assert len(result.layers) > 25
    # Nothing that is compared is all but constant.
    assert all(layer.span > 20 for layer in result.layers), [str(layer) for layer in result.layers]


def test_quantized_is_close_to_float():
    model = garden_model()
    qmodel = mq.quantize(model)
    x = images(seed=1)
    np.testing.assert_allclose(qmodel(x)["logits"], model(x)["logits"], atol=1e-4)
    mq.calibrate(qmodel, images(), verbose=0)
    a, b = (np.ravel(m(x)["logits"]) for m in (model, qmodel))
    assert np.corrcoef(a, b)[0, 1] > 0.99


def test_training_form_and_integers_within_one_step_layer_by_layer():
    qmodel = mq.calibrate(mq.quantize(garden_model()), images(), verbose=0)
    mq.set_phase(qmodel, "frozen")
    tensors = {}
    for call in ModelGraph(qmodel).calls:
        inputs = [tensors.get(id(t), tf.constant(images(8, seed=2))) for t in call.inputs]
        inputs = inputs if len(inputs) > 1 else inputs[0]
        if isinstance(call.layer, QuantizedLayer):
            exact = call.layer(inputs, training=False)
            trained = call.layer(inputs, training=True)
            steps = np.abs(exact - trained) / call.layer.output_quantizer.grid().scale
            assert steps.numpy().max() < 1.01, call.name
            assert steps.numpy().mean() < (0.3 if "softmax" in call.name else 0.15), call.name
        else:
            exact = call.layer(inputs)
        tensors[id(call.outputs[0])] = exact


@pytest.mark.parametrize("estimator", ["denoise", "ste", "lsq"])
def test_what_attention_multiplies_with_has_zero_point_0(estimator):
    qmodel = mq.calibrate(mq.quantize(garden_model(), estimator=estimator), images(), verbose=0)
    qmodel.compile("adam", {"logits": "mse"}, jit_compile=False)
    qmodel.fit(images(), {"logits": np.zeros((32, 10))}, verbose=0)
    points = {tensor.name: tensor.zero_point for tensor in freeze(qmodel).tensors}
    assert points["key"] == 0 and points["value"] == 0
    clone = keras.models.clone_model(qmodel)
    clone.set_weights(qmodel.get_weights())
    np.testing.assert_array_equal(clone(images())["logits"], qmodel(images())["logits"])


def test_hard_swish_is_one_addition_and_one_product():
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, activate(convolve(image, 4, name="conv"), "hard_silu", "swish"))
    qmodel = mq.calibrate(mq.quantize(model), 4 * images(8)[:, :8, :8], verbose=0)
    operators = freeze(qmodel).operators
    assert [op.kind for op in operators] == ["CONV_2D", "ADD", "MUL"]
    gate, output = operators[1].outputs[0], operators[2].outputs[0]
    assert gate.internal and output.name == "swish"
    x = np.linspace(-8, 8, 3 * 64 * 4, dtype="float32").reshape(4, 8, 8, 3)
    error = np.abs(np.asarray(qmodel(x)) - np.asarray(model(x))).max()
    assert error < 4 * output.scale


def test_hard_swish_behind_any_other_layer():
    image = keras.Input((16, 16, 3), name="image")
    x = convolve(image, 4, name="conv")
    model = keras.Model(image, activate(keras.layers.Add()([x, x]), "hard_silu", "swish"))
    qmodel = mq.calibrate(mq.quantize(model), images(8), verbose=0)
    assert [op.kind for op in freeze(qmodel).operators] == ["CONV_2D", "ADD", "MUL", "ADD", "MUL"]


def test_hard_swish_of_next_to_nothing_is_computed_as_on_the_device(tmp_path):
    model = keras.Model(
        image := keras.Input((16, 16, 3)), activate(convolve(image, 4), "hard_silu", "swish")
    )
    qmodel = mq.calibrate(mq.quantize(model), images(4) * 1e-6, verbose=0)
    tflite_tools.convert(qmodel, tmp_path / "m.tflite")
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", images(4) * 1e-6, layers=True)
    assert result.first_difference is None and result.span > 50


def test_a_dead_product_is_refused_by_name():
    qmodel = mq.calibrate(mq.quantize(garden_model(False)), images(), verbose=0)
    quantizer = qmodel.get_layer("excite").output_quantizer
    quantizer.range.assign(quantizer.range * 1e-7)
    with pytest.raises(ValueError, match=r"Layer 'excite'.*next to nothing"):
        freeze(qmodel)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
def test_layer_scale_folds_into_what_is_before_it(scale, normalized):
    image = keras.Input((16, 16, 3), name="image")
    x = convolve(image, 4, use_bias=True, bias_initializer="normal")
    if normalized:
        x = keras.layers.BatchNormalization(scale=scale)(x)
    model = as_after_training_if(
        keras.Model(image, mq.layers.LayerScale(0.5, name="layer_scale")(x)), scale
    )
    qmodel = mq.quantize(model)
    assert not any(isinstance(layer, mq.layers.LayerScale) for layer in qmodel.layers)
    np.testing.assert_allclose(qmodel(images(4)), model(images(4)), atol=1e-5)
    qmodel = mq.calibrate(qmodel, images(), verbose=0)
    assert [op.kind for op in freeze(qmodel).operators] == ["CONV_2D"]


def as_after_training_if(model, everything):
    random = np.random.default_rng(0)
    model.get_layer("layer_scale").gamma.assign(random.normal(size=4))
    return as_after_training(model) if everything else model


def test_a_lone_batch_normalization_is_exact():
    image = keras.Input((16, 16, 3), name="image")
    model = as_after_training(keras.Model(image, activate(normalize(image, "norm"), "relu")))
    qmodel = mq.calibrate(mq.quantize(model, "w2a8"), images(), verbose=0)
    (operator,) = freeze(qmodel).operators
    assert (operator.kind, operator.activation) == ("DEPTHWISE_CONV_2D", "RELU")
    image = freeze(qmodel).inputs[0]
    on_grid = np.clip(np.round(images() / image.scale), -100, 100) * image.scale
    error = np.abs(np.asarray(qmodel(on_grid)) - np.asarray(model(on_grid)))
    assert error.max() < 0.502 * operator.outputs[0].scale


@pytest.mark.parametrize("recipe", ["w4a4", "w1a1"])
def test_low_precision_trains_with_these_layers_in_float(recipe):
    qmodel = mq.calibrate(mq.quantize(garden_model(), recipe), images(), verbose=0)
    qmodel.compile(keras.optimizers.Adam(1e-2), {"logits": "mse"}, jit_compile=False)
    history = qmodel.fit(images(), {"logits": np.ones((32, 10))}, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_the_edge_tpu_gets_what_it_maps_and_the_rest_is_said_by_name(tmp_path):
    qmodel = mq.quantize(garden_model(with_attention=False), target="edgetpu")
    mq.calibrate(qmodel, images(), verbose=0)
    report = tflite_tools.convert(qmodel, tmp_path / "m.tflite")
    assert "HARD_SWISH" not in report.operators and report.operators["MUL"] == 6
    with pytest.raises(ValueError, match="stand in the way") as error:
        mq.quantize(garden_model(), target="edgetpu")
    for text in ("'scores' (Dot)", "'mixed' (Dot)", "BATCH_MATMUL", "GELU"):
        assert text in str(error.value)


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    layer = mq.layers.StochasticDepth(0.25, seed=1)
    x = np.ones((4000, 2, 3), "float32")
    y = np.asarray(layer(x, training=True))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y == y[:, :1, :1]).all() and abs(y.mean() - 1) < 0.05
    np.testing.assert_array_equal(layer(x, training=False), x)
    with pytest.raises(ValueError, match="rate must be"):
        mq.layers.StochasticDepth(1.0)
