"""`calibrate`: what it measures, what it takes, what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilequant as mq
from mobilequant.quantize.state import quantized_layers


def model():
    inputs = keras.Input((4, 4, 2), name="image")
    x = keras.layers.Conv2D(3, 1, name="convolution")(inputs)
    return mq.quantize(keras.Model(inputs, keras.layers.ReLU(6.0)(x), name="tiny"))


def data(count=10, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 4, 4, 2)).astype("float32")


def input_range(qmodel):
    return qmodel.layers[1].output_quantizer.range.numpy()


def test_minmax_is_the_range_of_all_data():
    x = data()
    qmodel = mq.calibrate(model(), x, batch_size=3, verbose=0)
    np.testing.assert_array_equal(input_range(qmodel), [x.min(), x.max()])
    low, high = qmodel.get_layer("convolution").output_quantizer.range.numpy()
    assert low == 0.0 and 0 < high <= 6


def test_moving_average_is_the_mean_of_the_batches():
    x = data(12)
    qmodel = mq.calibrate(model(), x, batch_size=4, method="moving_average", verbose=0)
    batches = x.reshape(3, -1)
    expected = [batches.min(1).mean(), batches.max(1).mean()]
    np.testing.assert_allclose(input_range(qmodel), expected, rtol=1e-6)


def with_outliers(count=64):
    x = data(count)
    x[0, 0, 0, 0], x[5, 1, 1, 0] = 1000.0, -800.0
    return x


def test_percentile_is_over_all_values_not_an_average_of_batches():
    x = with_outliers()
    whole = mq.calibrate(model(), x, method="percentile", percentile=99, verbose=0)
    expected = np.quantile(x, [0.005, 0.995])
    np.testing.assert_allclose(input_range(whole), expected, atol=2 * 1800 / 2**13)
    parts = mq.calibrate(
        model(), x[::-1], method="percentile", percentile=99, batch_size=5, verbose=0
    )
    np.testing.assert_array_equal(input_range(whole), input_range(parts))
    all_of_it = mq.calibrate(model(), x, method="percentile", percentile=100, verbose=0)
    np.testing.assert_array_equal(input_range(all_of_it), [x.min(), x.max()])


def test_mse_is_smaller_than_with_minmax_where_there_are_outliers():
    x = np.clip(with_outliers(2**15), -30, 30)
    errors = {}
    for method in ("minmax", "mse"):
        qmodel = mq.calibrate(model(), x, method=method, batch_size=2**13, verbose=0)
        on_grid = qmodel.layers[1](x)
        errors[method] = np.mean(np.square(on_grid - x))
    assert errors["mse"] < errors["minmax"]
    low, high = qmodel.get_layer("convolution").output_quantizer.range.numpy()
    assert abs(low) < 1e-3 and 0 < high <= 6


@pytest.mark.parametrize("method", ["percentile", "mse"])
@pytest.mark.parametrize(
    "scheme",
    [
        mq.Scheme(bits=4, grid="affine", granularity="tensor", range="std"),
        mq.Scheme(bits=3, grid="linear", granularity="channel", estimator="ste"),
        mq.Scheme(bits=4, grid="affine", granularity="tensor", range="learned"),
        mq.Scheme(bits=2, grid="linear", granularity="tensor", estimator="lsq"),
    ],
    ids=str,
)
def test_any_scheme_takes_ranges_from_histograms(method, scheme):
    recipe = mq.Recipe(weights=mq.Scheme(bits=8), activations=scheme)
    x = data(64)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 2))
    float_model = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="convolution")(inputs))
    qmodel = mq.quantize(float_model, recipe)
    options = {"percentile": 95.0} if method == "percentile" else {}
    mq.calibrate(qmodel, x, method=method, batch_size=16, verbose=0, **options)
    quantizer = qmodel.get_layer("convolution").input_quantizer
    assert float(quantizer.observed) == 4.0
    signal = float_model(x, training=False)
    error = np.mean(np.square(qmodel(x, training=False) - signal)) / np.mean(np.square(signal))
    assert error < {2: 0.3, 3: 0.08, 4: 0.03}[scheme.bits]
    # Inference is what it was trained towards: a learned range starts here.
    mq.set_phase(qmodel, "frozen")
    np.testing.assert_allclose(quantizer.infer(x), quantizer(x), atol=1e-5)


@pytest.mark.parametrize("kind", ["array", "dataset", "labelled", "list", "generator", "dict"])
def test_forms_of_data(kind):
    x = data(12)
    batches = [x[i : i + 4] for i in range(0, 12, 4)]
    form = {
        "array": x,
        "dataset": tf.data.Dataset.from_tensor_slices(x).batch(5),
        "labelled": tf.data.Dataset.from_tensor_slices((x, np.zeros(12))).batch(5),
        "list": batches,
        "generator": (batch for batch in batches),
        "dict": [{"image": batch} for batch in batches],
    }[kind]
    qmodel = mq.calibrate(model(), form, verbose=0)
    np.testing.assert_array_equal(input_range(qmodel), [x.min(), x.max()])


def test_steps_limit_the_data_and_a_second_call_starts_anew():
    x = data(12)
    qmodel = mq.calibrate(model(), x * 5, batch_size=4, verbose=0)
    mq.calibrate(qmodel, x, batch_size=4, steps=1, verbose=0)
    np.testing.assert_array_equal(input_range(qmodel), [x[:4].min(), x[:4].max()])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 4, 4, 2)), "empty"),
        ([], "empty"),
        (np.full((2, 4, 4, 2), np.nan), "NaN"),
        (np.full((2, 4, 4, 2), np.inf), "infinite"),
        (np.zeros((2, 5, 4, 2)), r"shape \(2, 5, 4, 2\).*'image' takes \(None, 4, 4, 2\)"),
        (np.zeros((2, 4, 4)), "shape"),
        (7, "must be an array"),
    ],
)
def test_bad_data_leaves_the_ranges_as_they_were(bad, message):
    qmodel = mq.calibrate(model(), data(), verbose=0)
    before = [w.copy() for w in qmodel.get_weights()]
    with pytest.raises(ValueError, match=message):
        mq.calibrate(qmodel, bad, verbose=0)
    for a, b in zip(before, qmodel.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_an_interrupt_leaves_the_ranges_as_they_were(method):
    qmodel = mq.calibrate(model(), data(), verbose=0)
    before = input_range(qmodel).copy()

    def interrupted():
        yield data(seed=1) * 9
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mq.calibrate(qmodel, interrupted(), method=method, verbose=0)
    np.testing.assert_array_equal(input_range(qmodel), before)


def test_activations_that_overflow_name_the_layer():
    inputs = keras.Input((4, 4, 2))
    qmodel = mq.quantize(keras.Model(inputs, keras.layers.Conv2D(3, 1, name="convolution")(inputs)))
    qmodel.get_layer("convolution").layer.kernel.assign(np.full((1, 1, 2, 3), 3e38))
    with pytest.raises(ValueError, match="'convolution'.*NaN or infinite"):
        mq.calibrate(qmodel, data() * 0 + 9, method="mse", verbose=0)


def test_other_errors():
    with pytest.raises(ValueError, match="Unknown method"):
        mq.calibrate(model(), data(), method="guess")
    with pytest.raises(ValueError, match="'mse' takes no percentile"):
        mq.calibrate(model(), data(), method="mse", percentile=99)
    for percentile in (0, 101, -1, "99", True, float("nan")):
        with pytest.raises(ValueError, match="percent above 0, up to 100"):
            mq.calibrate(model(), data(), method="percentile", percentile=percentile)
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="is not quantized"):
        mq.calibrate(keras.Model(inputs, keras.layers.Dense(2)(inputs)), data())


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_constant_data_gives_a_usable_range(method):
    zeros = np.zeros((2, 4, 4, 2), "float32")
    qmodel = mq.calibrate(model(), zeros, method=method, verbose=0)
    assert np.isfinite(np.asarray(qmodel(data()))).all()


def normalized_network(seed=0, scale=1.0):
    """A small network whose normalizations keep the statistics of `photographs() * scale`."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((16, 16, 3), name="image")
    x = inputs
    for i, channels in enumerate((6, 8, 8)):
        y = keras.layers.Conv2D(channels, 3, padding="same", use_bias=i == 0, name=f"c{i}")(x)
        y = keras.layers.BatchNormalization(name=f"n{i}", momentum=0.0)(y)
        y = keras.layers.Activation(("relu", "relu6", "hard_swish")[i])(y)
        x = keras.layers.Add(name="sum")([x, y]) if i == 2 else y
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, keras.layers.Dense(5, name="scores")(x), name="small")
    random = np.random.default_rng(seed)
    for i in range(3):
        size = model.get_layer(f"n{i}").gamma.shape
        model.get_layer(f"n{i}").gamma.assign(random.uniform(0.5, 2, size))
        model.get_layer(f"n{i}").beta.assign(random.normal(size=size))
    for _ in range(3):
        model(photographs() * scale, training=True)
    return model


def photographs(count=64, seed=5):
    """Images with flat parts and edges, in [−1, 1]."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(-1, 1, (count, 4, 4, 3))
    return np.clip(coarse.repeat(4, 1).repeat(4, 2), -1, 1).astype("float32")


def signal_to_noise(qmodel, model, x):
    expected = np.asarray(model(x, training=False))
    noise = np.asarray(qmodel(x, training=False)) - expected
    return 10 * np.log10(np.square(expected).sum() / np.square(noise).sum())


def test_data_free_is_close_to_data():
    model, x = normalized_network(), photographs(seed=6)
    with_data = mq.calibrate(mq.quantize(model), photographs(), verbose=0)
    qmodel = mq.quantize(model)
    statistics = [w.copy() for w in qmodel.get_layer("c1").normalization.get_weights()]
    assert mq.calibrate(qmodel, method="data_free", verbose=0) is qmodel
    for a, b in zip(statistics, qmodel.get_layer("c1").normalization.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(input_range(qmodel), [-1, 1])
    assert signal_to_noise(qmodel, model, x) > signal_to_noise(with_data, model, x) - 6
    # The same at every call, and no batch size decides it alone.
    again = mq.calibrate(mq.quantize(model), method="data_free", verbose=0)
    np.testing.assert_array_equal(again(x), qmodel(x))


def test_data_free_normalizes_by_what_training_saw():
    """Each channel in front of the activation has mean β and deviation γ."""
    model = normalized_network()
    qmodel = mq.calibrate(mq.quantize(model), method="data_free", verbose=0)
    gamma, beta = (np.asarray(w) for w in model.get_layer("n0").get_weights()[:2])
    _, high = qmodel.get_layer("c0").output_quantizer.range.numpy()
    assert (beta + 2 * gamma).max() < high < (beta + 8 * gamma).max()


def test_data_free_with_other_inputs():
    model = normalized_network(scale=127.0)
    with pytest.raises(ValueError, match=r"'c0' has seen .* the deviation.*input_range"):
        mq.calibrate(mq.quantize(model), method="data_free", verbose=0)
    qmodel = mq.calibrate(
        mq.quantize(model), method="data_free", input_range=(-127, 127), verbose=0
    )
    np.testing.assert_array_equal(input_range(qmodel), [-127, 127])
    assert signal_to_noise(qmodel, model, photographs(seed=6) * 127) > 20


def test_data_free_needs_normalization_and_a_size():
    with pytest.raises(ValueError, match=r"none of its layers has one \('convolution'\)"):
        mq.calibrate(model(), method="data_free")
    inputs = keras.Input((None, None, 3), name="any")
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 1)(inputs))
    with pytest.raises(ValueError, match=r"Input 'any' has an unknown size"):
        mq.calibrate(mq.quantize(keras.Model(inputs, x)), method="data_free")


def test_data_free_arguments():
    qmodel = mq.quantize(normalized_network())
    with pytest.raises(ValueError, match="'data_free' takes no data"):
        mq.calibrate(qmodel, photographs(), method="data_free")
    with pytest.raises(ValueError, match="'minmax' needs data.*data_free"):
        mq.calibrate(qmodel)
    with pytest.raises(ValueError, match="'mse' takes no input_range"):
        mq.calibrate(qmodel, photographs(), method="mse", input_range=(0, 1))
    for bad in ((1, 0), (0, 0), 5, (0, 1, 2), (0, float("inf")), ("a", "b")):
        with pytest.raises(ValueError, match="input_range is"):
            mq.calibrate(qmodel, method="data_free", input_range=bad)


def test_data_free_with_several_inputs_of_any_rank():
    image, features = keras.Input((8, 8, 3), name="image"), keras.Input((4,), name="features")
    x = keras.layers.Conv2D(4, 3, use_bias=False)(image)
    x = keras.layers.GlobalAveragePooling2D()(
        keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    )
    x = keras.layers.Concatenate()([x, keras.layers.Dense(4)(features)])
    qmodel = mq.quantize(keras.Model([image, features], keras.layers.Dense(2)(x)))
    mq.calibrate(qmodel, method="data_free", verbose=0)
    assert all(q.calibrated for layer in quantized_layers(qmodel) for q in layer.quantizers)


def normalized(bits=2):
    """Two convolutions with batch normalization, whose statistics are those of other weights."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 2), name="image")
    x = inputs
    for name in ("first", "second"):
        x = keras.layers.Conv2D(3, 1, name=name, bias_initializer="uniform")(x)
        x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
        x = keras.layers.ReLU()(x)
    scheme = mq.Scheme(bits=bits, range="std")
    return keras.Model(inputs, x, name="normalized"), mq.Recipe(weights=scheme)


def statistics(qmodel, name):
    norm = qmodel.get_layer(name).normalization
    return norm.moving_mean.numpy(), norm.moving_variance.numpy()


def test_batch_norm_is_measured_behind_the_quantized_weights():
    model, recipe = normalized()
    x = data(64)
    qmodel = mq.calibrate(mq.quantize(model, recipe), x, batch_norm=True, batch_size=64, verbose=0)
    # Keras' own layers, with what the quantized weights are worth, in training mode.
    float_twin = keras.models.clone_model(model)
    float_twin.set_weights(model.get_weights())
    for name in ("first", "second"):
        layer = qmodel.get_layer(name)
        weights = layer.restore_kernel(layer.weight_quantizer.simulate(layer.flat_kernel()))
        float_twin.get_layer(name).kernel.assign(weights)
        float_twin.get_layer(f"{name}_norm").momentum = 0.0
    float_twin(x, training=True)
    for name in ("first", "second"):
        norm = float_twin.get_layer(f"{name}_norm")
        mean, variance = statistics(qmodel, name)
        np.testing.assert_allclose(mean, norm.moving_mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(variance, norm.moving_variance, rtol=1e-4)
    # Ranges are those of the new statistics: about as many deviations as there are values.
    assert qmodel.get_layer("second").output_quantizer.range.numpy()[1] < 6


def test_batch_norm_of_batches_is_that_of_all_data():
    model, recipe = normalized()
    x = np.random.default_rng(0).normal(size=(30, 4, 4, 2)).astype("float32") * 5 + 3
    whole = mq.calibrate(mq.quantize(model, recipe), x, batch_norm=True, batch_size=30, verbose=0)
    parts = mq.calibrate(
        mq.quantize(model, recipe), [x[:4], x[4:19], x[19:]], batch_norm=True, verbose=0
    )
    for one, other in zip(statistics(whole, "first"), statistics(parts, "first"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_without_batch_norm_its_statistics_stay():
    model, recipe = normalized()
    qmodel = mq.calibrate(mq.quantize(model, recipe), data(), verbose=0)
    np.testing.assert_array_equal(statistics(qmodel, "first")[0], 0.0)


def test_batch_norm_comes_back_where_the_ranges_fail():
    model, recipe = normalized()
    qmodel = mq.quantize(model, recipe)

    class Second:
        """Batches that turn bad when they are gone through again."""

        times = 0

        def __iter__(self):
            self.times += 1
            return iter([data() * (1.0 if self.times == 1 else np.nan)])

    with pytest.raises(ValueError, match="NaN"):
        mq.calibrate(qmodel, Second(), batch_norm=True, verbose=0)
    np.testing.assert_array_equal(statistics(qmodel, "first")[0], 0.0)


def test_batch_norm_refuses_what_it_cannot_measure():
    quantized = mq.quantize(*normalized())
    with pytest.raises(ValueError, match="twice"):
        mq.calibrate(quantized, iter([data()]), batch_norm=True)
    with pytest.raises(ValueError, match="data_free"):
        mq.calibrate(quantized, method="data_free", batch_norm=True)
    with pytest.raises(ValueError, match="no batch normalization"):
        mq.calibrate(model(), data(), batch_norm=True)
