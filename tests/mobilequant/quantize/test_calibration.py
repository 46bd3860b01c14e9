"""`calibrate`: what it measures, what it takes, what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilequant as mq


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


def test_an_interrupt_leaves_the_ranges_as_they_were():
    qmodel = mq.calibrate(model(), data(), verbose=0)
    before = input_range(qmodel).copy()

    def interrupted():
        yield data(seed=1) * 9
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mq.calibrate(qmodel, interrupted(), verbose=0)
    np.testing.assert_array_equal(input_range(qmodel), before)


def test_other_errors():
    with pytest.raises(ValueError, match="Unknown method"):
        mq.calibrate(model(), data(), method="guess")
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="is not quantized"):
        mq.calibrate(keras.Model(inputs, keras.layers.Dense(2)(inputs)), data())


def test_constant_data_gives_a_usable_range():
    qmodel = mq.calibrate(model(), np.zeros((2, 4, 4, 2), "float32"), verbose=0)
    assert np.isfinite(np.asarray(qmodel(data()))).all()
