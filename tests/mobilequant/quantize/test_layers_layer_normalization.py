"""Layer and RMS normalization as integers: against LiteRT, and against the float formula."""

import keras
import numpy as np
import pytest
from layer_checks import batches, calibrated, check, images, kinds_of, outputs, reloaded, sample

import mobilequant as mq
import tflite_tools
from mobilequant.quantize import freeze

L = keras.layers

SHAPES = {"image": (8, 8, 24), "tokens": (16, 24), "vector": (48,)}

LAYERS = {
    "plain": lambda: L.LayerNormalization(name="norm"),
    "small epsilon": lambda: L.LayerNormalization(epsilon=1e-6, name="norm"),
    "without center": lambda: L.LayerNormalization(center=False, name="norm"),
    "without scale": lambda: L.LayerNormalization(scale=False, name="norm"),
    "bare": lambda: L.LayerNormalization(scale=False, center=False, name="norm"),
    "rms": lambda: L.RMSNormalization(name="norm"),
}

#: Its errors are those of several operators.
OPTIONS = {"tolerance": 0.1, "training_steps": 5.01}


def learned(model, seed=0):
    """γ and β that are not where they start."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, (L.LayerNormalization, L.RMSNormalization)):
            for weight in layer.weights:
                weight.assign(random.normal(0.5, 1.0, weight.shape))
    return model


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_alone(layer, shape, tmp_path):
    model = learned(keras.Sequential([keras.Input(SHAPES[shape]), LAYERS[layer]()]))
    qmodel = check(model, tmp_path, **OPTIONS)
    kinds = kinds_of(qmodel)
    assert kinds.count("RSQRT") == kinds.count("BATCH_MATMUL") == 1
    assert kinds.count("DEPTHWISE_CONV_2D") == (layer != "bare")
    assert kinds.count("SUB") == (layer != "rms")


def test_over_several_dimensions(tmp_path):
    layer = L.LayerNormalization(axis=(1, 2, 3))
    model = learned(keras.Sequential([keras.Input((4, 4, 3)), layer]))
    reloaded(check(model, tmp_path, **OPTIONS), tmp_path)
    model = keras.Sequential([keras.Input((3, 5, 4)), L.LayerNormalization(axis=[-1, -2])])
    check(learned(model), tmp_path, **OPTIONS)


def rows_of_variances(spread, shape, seed=0):
    """Rows whose largest variance is `spread` times the smallest, with means of their own."""
    random = np.random.default_rng(seed)
    exponents = random.uniform(-0.25, 0.25, (*shape[:-1], 1))
    deviations = spread**exponents
    means = random.normal(0, 0.3, deviations.shape)
    return ((random.normal(size=shape) + means) * deviations).astype("float32")


@pytest.mark.parametrize(("spread", "steps"), [(1, 0.65), (30, 1.3), (100, 2.0)])
def test_error_over_variances(spread, steps):
    """Root mean square, in output steps, of what the arithmetic adds to a quantized input."""
    x = rows_of_variances(spread, (8, 64, 96))
    layer = L.LayerNormalization(epsilon=1e-6, scale=False, center=False)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    qmodel = mq.calibrate(mq.quantize(model), x, verbose=0)
    on_grid = keras.Model(qmodel.inputs, qmodel.layers[1].output)(x)
    scale = float(qmodel.layers[-1].output_quantizer.grid().scale)
    error = (np.asarray(qmodel(x)) - np.asarray(model(on_grid))) / scale
    assert np.sqrt(np.mean(error**2)) < steps


def test_rows_that_are_constant(tmp_path):
    """They have no deviation to divide by; they must neither end in NaN nor spoil the others."""
    x = rows_of_variances(4, (8, 16, 12))
    x[:, :5] = 0.25
    layer = L.LayerNormalization(epsilon=1e-6, name="norm")
    model = keras.Sequential([keras.Input((16, 12), name="rows"), layer])
    qmodel = mq.calibrate(mq.quantize(model), x, verbose=0)
    path = tmp_path / "m.tflite"
    tflite_tools.convert(qmodel, path, samples=x)
    assert tflite_tools.verify(qmodel, path, x, layers=True).first_difference is None
    error = np.abs(np.asarray(qmodel(x)) - np.asarray(model(x)))[:, 5:]
    assert error.max() < 0.2


def test_an_epsilon_as_large_as_the_variance(tmp_path):
    x = rows_of_variances(10, (8, 16, 12)) * 0.03
    model = keras.Sequential([keras.Input((16, 12), name="rows"), L.LayerNormalization()])
    qmodel = mq.calibrate(mq.quantize(model), x, verbose=0)
    path = tmp_path / "m.tflite"
    tflite_tools.convert(qmodel, path, samples=x)
    assert tflite_tools.verify(qmodel, path, x, layers=True).first_difference is None
    assert "standardized/power_and_epsilon" in str(
        [tensor.name for tensor in freeze(qmodel).tensors]
    )
    error = np.abs(np.asarray(qmodel(x)) - np.asarray(model(x)))
    assert error.max() < 0.1


def transformer_block():
    x = keras.Input((16, 12), name="tokens")
    y = L.LayerNormalization(epsilon=1e-6)(x)
    y = L.Add()([x, L.MultiHeadAttention(2, 6)(y, y)])
    z = L.Dense(24, activation="gelu")(L.LayerNormalization(epsilon=1e-6)(y))
    y = L.Add()([y, L.Dense(12)(z)])
    return keras.Model(x, L.GlobalAveragePooling1D()(L.LayerNormalization()(y)))


def convnext_block():
    x = keras.Input((8, 8, 8), name="image")
    y = L.DepthwiseConv2D(7, padding="same")(x)
    y = L.Dense(32, activation="gelu")(L.LayerNormalization(epsilon=1e-6)(y))
    y = mq.layers.LayerScale(0.5)(L.Dense(8)(y))
    return keras.Model(x, L.Add()([x, y]))


@pytest.mark.parametrize("make", [transformer_block, convnext_block])
def test_blocks_train_and_agree(make, tmp_path):
    keras.utils.set_random_seed(0)
    model = learned(make())
    qmodel = calibrated(model)
    qmodel.compile("adam", "mse", jit_compile=False)
    before = [w.numpy().copy() for w in qmodel.trainable_weights]
    qmodel.fit(sample(model), outputs(model, sample(model))[0], verbose=0)
    assert all(
        np.any(b != w.numpy()) for b, w in zip(before, qmodel.trainable_weights, strict=True)
    )
    path = tmp_path / "m.tflite"
    tflite_tools.convert(qmodel, path, samples=batches(model, 4, 1))
    result = tflite_tools.verify(qmodel, path, batches(model, 16, 2), layers=True)
    assert result.first_difference is None, str(result)
    reloaded(qmodel, tmp_path)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (L.LayerNormalization(axis=1, name="a"), "only the last ones.*Permute"),
        (L.LayerNormalization(rms_scaling=True, name="a"), "RMSNormalization"),
    ],
)
def test_what_cannot_be_normalized_is_said_by_name(layer, said):
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    with pytest.raises(ValueError, match=rf"'a' \(LayerNormalization\): .*{said}"):
        mq.quantize(model)


def test_the_edge_tpu_refuses_by_name():
    model = keras.Sequential([keras.Input((8, 8, 3)), L.LayerNormalization(name="a")])
    with pytest.raises(ValueError, match="'a'.*does not run BATCH_MATMUL"):
        mq.quantize(model, target="edgetpu")


def test_low_precision_leaves_it_in_float():
    layers = [L.LayerNormalization(), L.RMSNormalization(), L.Conv2D(4, 1)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    qmodel = mq.calibrate(mq.quantize(model, "w2a2"), images(), verbose=0)
    assert qmodel(images()).shape == (16, 8, 8, 4)
