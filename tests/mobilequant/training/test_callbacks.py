"""When quantization begins and when it freezes, in `fit`."""

import keras
import numpy as np
import pytest

import mobilequant as mq
from mobilequant.quantize.state import quantized_layers
from mobilequant.training import FreezeAt, QuantizeFrom


class Watch(keras.callbacks.Callback):
    """Notes the phase, a range and a moving mean at the end of every batch."""

    def __init__(self):
        super().__init__()
        self.phases, self.ranges, self.means = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        layer = self.model.get_layer("convolution")
        self.phases.append(int(layer.output_quantizer.phase))
        self.ranges.append(layer.output_quantizer.range.numpy().copy())
        self.means.append(layer.normalization.moving_mean.numpy().copy())


def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="convolution")(inputs)
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def fit(qmodel, callbacks, epochs=3):
    random = np.random.default_rng(0)
    qmodel.compile("sgd", "mse", jit_compile=False)
    watch = Watch()
    qmodel.fit(
        random.normal(size=(16, 6, 6, 2)).astype("float32"),
        random.normal(size=(16, 2)).astype("float32"),
        batch_size=8,
        epochs=epochs,
        verbose=0,
        callbacks=[*callbacks, watch],
    )
    return watch


def test_phases_follow_one_another():
    watch = fit(mq.quantize(model()), [QuantizeFrom(step=3), FreezeAt(-1)])
    assert watch.phases == [0, 0, 0, 1, 2, 2]
    # Ranges move from the first, float, step on, and stand still when frozen.
    assert not np.array_equal(watch.ranges[0], watch.ranges[1])
    assert not np.array_equal(watch.ranges[2], watch.ranges[3])
    np.testing.assert_array_equal(watch.ranges[3], watch.ranges[5])
    np.testing.assert_array_equal(watch.means[3], watch.means[5])
    assert not np.array_equal(watch.means[2], watch.means[3])


def test_the_float_phase_trains_as_the_float_model():
    float_model = model()
    qmodel = mq.quantize(float_model)
    fit(qmodel, [QuantizeFrom(epoch=99)], epochs=2)
    random = np.random.default_rng(0)
    float_model.compile("sgd", "mse", jit_compile=False)
    float_model.fit(
        random.normal(size=(16, 6, 6, 2)).astype("float32"),
        random.normal(size=(16, 2)).astype("float32"),
        batch_size=8,
        epochs=2,
        verbose=0,
        shuffle=True,
    )
    for layer in quantized_layers(qmodel):
        if hasattr(layer, "layer"):
            expected = float_model.get_layer(layer.layer.name).get_weights()
            for a, b in zip(layer.layer.get_weights(), expected, strict=True):
                assert np.abs(a - b).max() < 0.05


def test_counting_goes_on_in_a_second_fit():
    qmodel = mq.quantize(model())
    callback = QuantizeFrom(step=3)
    assert fit(qmodel, [callback], epochs=1).phases == [0, 0]
    watch = Watch()
    random = np.random.default_rng(0)
    qmodel.fit(
        random.normal(size=(16, 6, 6, 2)), random.normal(size=(16, 2)), batch_size=8,
        verbose=0, callbacks=[callback, watch],
    )  # fmt: skip
    assert watch.phases == [0, 1]


def test_several_steps_an_execution_count_as_several():
    qmodel = mq.quantize(model())
    random = np.random.default_rng(0)
    qmodel.compile("sgd", "mse", jit_compile=False, steps_per_execution=2)
    watch = Watch()
    qmodel.fit(
        random.normal(size=(24, 6, 6, 2)), random.normal(size=(24, 2)), batch_size=4,
        verbose=0, callbacks=[QuantizeFrom(step=4), watch],
    )  # fmt: skip
    assert watch.phases == [0, 0, 1]


def test_the_phase_is_saved(tmp_path):
    qmodel = mq.quantize(model())
    fit(qmodel, [], epochs=1)
    mq.set_phase(qmodel, "frozen")
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    assert {int(layer.output_quantizer.phase) for layer in quantized_layers(loaded)} == {2}


def test_errors():
    with pytest.raises(ValueError, match="either step or epoch"):
        QuantizeFrom()
    with pytest.raises(ValueError, match="either step or epoch"):
        QuantizeFrom(step=1, epoch=1)
    with pytest.raises(ValueError, match="count from 0"):
        QuantizeFrom(step=-1)
    with pytest.raises(ValueError, match="no range to freeze"):
        fit(mq.quantize(model()), [FreezeAt(0)])
