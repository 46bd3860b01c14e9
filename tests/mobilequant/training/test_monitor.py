"""What the monitor measures, against NumPy; where it writes; how it goes on."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import mobilequant as mq
from mobilequant.training import QuantizationMonitor, monitor_plot
from mobilequant.training.monitor import QUANTITIES, WEIGHT_QUANTITIES

IMAGES = np.random.default_rng(0).normal(size=(16, 6, 6, 8)).astype("float32")
TARGETS = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def quantized(recipe="w4a8", learning_rate=0.05):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 8))
    x = keras.layers.Conv2D(8, 3, name="convolution")(inputs)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))
    qmodel = mq.quantize(model, recipe)
    qmodel.compile(keras.optimizers.SGD(learning_rate), "mse", jit_compile=False)
    return qmodel


def weights(**scheme):
    """A recipe with these weights in all layers, and activations of 8 bits."""
    return mq.Recipe(weights=mq.Scheme(**scheme))


def fit(qmodel, *callbacks, epochs=1, **kwargs):
    """Four steps an epoch."""
    qmodel.fit(
        IMAGES, TARGETS, batch_size=4, epochs=epochs, verbose=0, callbacks=[*callbacks], **kwargs
    )


def kernel(qmodel, name):
    return np.array(qmodel.get_layer(name).flat_kernel())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("monitor")


@pytest.fixture(scope="module")
def trained(folder):
    """A monitor that looked at each of 8 steps, at activations too, and wrote all it can."""
    monitor = QuantizationMonitor(folder / "new/logs", folder / "inside.png", every=1)
    monitor.batch = IMAGES[:4]
    fit(quantized(learning_rate=0.1), monitor, epochs=2)
    return monitor


def test_figures_are_those_of_numpy():
    qmodel = quantized(weights(bits=4, estimator="ste"))
    before = kernel(qmodel, "convolution")
    monitor = QuantizationMonitor(every=3)
    fit(qmodel, monitor)
    after = kernel(qmodel, "convolution")
    assert monitor.history["steps"] == [0, 3, 4]
    for look, w in ((0, before), (2, after)):
        scale = np.abs(w).max(axis=(0, 1, 2)) / 7
        q = np.round(w / scale)
        error = np.linalg.norm(q * scale - w) / np.linalg.norm(w)
        assert monitor.history["error"]["convolution"][look] == pytest.approx(error, rel=1e-4)
        assert monitor.history["zeros"]["convolution"][look] == pytest.approx((q == 0).mean())


def test_flips_are_the_integers_that_differ_per_step():
    qmodel = quantized("w8a8", learning_rate=0.0)
    monitor = QuantizationMonitor(every=2)
    fit(qmodel, monitor)
    assert monitor.history["flips"]["convolution"] == [None, 0.0, 0.0]
    # Ten integers of the first channel step up by one; none of them spans its range.
    layer = qmodel.get_layer("convolution")
    q, scale = (np.array(v) for v in layer.weight_quantizer.integers(layer.flat_kernel()))
    chosen = np.zeros(q.shape, bool)
    chosen.reshape(-1, 8)[:, 0][np.argsort(np.abs(q).reshape(-1, 8)[:, 0])[:10]] = True
    layer.layer.kernel.assign_add(chosen * scale)
    fit(qmodel, monitor)
    assert monitor.history["steps"] == [0, 2, 4, 6, 8]
    assert monitor.history["flips"]["convolution"][3:] == [pytest.approx(10 / q.size / 2), 0.0]


def test_a_large_learning_rate_flips_many(trained):
    flips = [np.mean(values[1:]) for values in trained.history["flips"].values()]
    assert min(flips) > 0.02


@pytest.mark.parametrize(
    ("scheme", "zeros"),
    [
        ({"bits": 4, "sparsity": "2:4"}, 0.5),
        ({"bits": 32, "sparsity": "2:4"}, 0.5),
        ({"bits": "ternary", "sparsity": 0.75}, 0.75),
        ({"bits": 2}, 0.0),
        ({"bits": 4, "grid": "affine"}, 0.0),
        ({"bits": 3, "granularity": "block", "block_size": 20}, 0.0),
        ({"bits": 3, "estimator": "lsq"}, 0.0),
    ],
)
def test_every_scheme(scheme, zeros):
    qmodel = quantized(weights(**scheme))
    quantizer, w = qmodel.get_layer("convolution").weight_quantizer, kernel(qmodel, "convolution")
    q = np.array(quantizer.levels(w))
    np.testing.assert_array_equal(q, np.round(q))
    share = (q == 0).mean()
    if "sparsity" in scheme:
        assert share >= zeros
    if scheme["bits"] == 2:
        assert set(np.unique(q)) == {-3, -1, 1, 3}
    if scheme.get("grid") == "affine":
        assert (q.min(), q.max()) == (0, 15)
        share = 0.0  # no integer of an affine grid is real zero
    monitor = QuantizationMonitor()
    monitor.set_model(qmodel)
    monitor.on_train_begin()
    monitor.on_epoch_begin(0)
    assert monitor.history["zeros"]["convolution"] == [pytest.approx(share)]
    assert 0 < monitor.history["error"]["convolution"][0] < 1
    # Between integers and dequantized weights lies one straight line a scale.
    if scheme["bits"] != 32 and scheme.get("granularity") != "block":
        y = np.array(quantizer.simulate(keras.ops.convert_to_tensor(w)))
        for channel in range(w.shape[-1]):
            line = np.polyfit(q[..., channel].ravel(), y[..., channel].ravel(), 1)
            np.testing.assert_allclose(
                np.polyval(line, q[..., channel]), y[..., channel], atol=1e-5
            )


def test_activations(trained):
    errors = trained.history["activation_error"]
    assert {"convolution", "depthwise", "logits"} <= set(errors)
    # Before the first step there is no range.
    assert all(values[0] is None for values in errors.values())
    last = [values[-1] for values in errors.values()]
    assert all(0 < error < 1 for error in last) and min(last) < 0.05
    assert len(trained.history["steps"]) == 9


def test_phases():
    monitor = QuantizationMonitor(every=1, batch=IMAGES[:4])
    callbacks = [mq.training.QuantizeFrom(step=2), mq.training.FreezeAt(-1), monitor]
    fit(quantized(), *callbacks, epochs=2)
    values = monitor.history["activation_error"]["convolution"]
    assert [value is None for value in values] == [True] * 3 + [False] * 6
    # The weights' error is what quantization would do, in float as well.
    assert all(0.01 < error < 0.5 for error in monitor.history["error"]["depthwise"])


def test_looking_changes_nothing():
    watched, alone = quantized("w4a8"), quantized("w4a8")
    fit(watched, QuantizationMonitor(every=1, batch=IMAGES), shuffle=False)
    fit(alone, shuffle=False)
    for one, other in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_go_on_where_the_optimizer_is_a_new_one():
    qmodel, monitor = quantized(), QuantizationMonitor(every=2)
    fit(qmodel, monitor)
    qmodel.compile("sgd", "mse", jit_compile=False)  # the optimizer counts from 0 again
    fit(qmodel, monitor)
    assert monitor.history["steps"] == [0, 2, 4, 6, 8]


def test_an_interrupted_run_has_a_plot_and_goes_on(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 7:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    first = QuantizationMonitor(plot=tmp_path / "inside.png", every=1)
    with pytest.raises(KeyboardInterrupt):
        fit(quantized(), first, Stop(), backup(), epochs=3)
    assert first.history["steps"] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert _pixels(tmp_path / "inside.png").std() > 10
    first.save(tmp_path / "inside.json")
    second = QuantizationMonitor(every=1)
    second.restore(tmp_path / "inside.json")
    assert second.to_dict() == first.to_dict()
    fit(quantized(), second, backup(), epochs=3)
    # Steps 5 to 7 were lost in the interruption, and were made again.
    assert second.history["steps"] == list(range(13))
    assert None not in second.history["flips"]["convolution"][1:]
    for quantity in WEIGHT_QUANTITIES:
        expected = first.history[quantity]["logits"][:5]
        assert second.history[quantity]["logits"][:5] == expected


def test_tensorboard(trained):
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.log_dir), size_guidance={"tensors": 0})
    events.Reload()
    assert {
        "quantization_error/convolution",
        "quantization_zeros/depthwise",
        "quantization_flips/logits",
        "quantization_activation_error/logits",
        "quantization/mean_error",
    } <= set(events.Tags()["tensors"])
    logged = events.Tensors("quantization_error/convolution")
    assert [event.step for event in logged] == trained.history["steps"]
    values = [tf.make_ndarray(event.tensor_proto).item() for event in logged]
    assert values == pytest.approx(trained.history["error"]["convolution"])
    flips = events.Tensors("quantization_flips/logits")
    assert [event.step for event in flips] == trained.history["steps"][1:]


def test_files_are_written_whole(trained, tmp_path, monkeypatch):
    trained.save(tmp_path / "inside.json")
    assert json.loads((tmp_path / "inside.json").read_text()) == trained.history
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    for write in (trained.save, trained.plot):
        suffix = ".json" if write == trained.save else ".png"
        with pytest.raises(OSError, match="disk full"):
            write(tmp_path / f"other{suffix}")
    assert os.listdir(tmp_path) == ["inside.json"]


def test_the_plot_of_a_few_layers(trained):
    assert _pixels(trained.plot_path).std() > 10
    few = {**trained.history, "activation_error": {}}
    figure = monitor_plot.draw(few)
    assert [axis.get_title() for axis in figure.axes] == [
        monitor_plot.PANELS[name][0] for name in ("error", "zeros", "flips")
    ]
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), few["steps"])
    np.testing.assert_allclose(line.get_ydata(), 100 * np.array(few["error"]["convolution"]))
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("looks", [1, 40])
def test_the_plot_of_many_layers(tmp_path, looks):
    random = np.random.default_rng(0)
    names = [f"block_{index}_expand" for index in range(50)]
    history = {quantity: {} for quantity in QUANTITIES} | {"steps": list(range(0, 10 * looks, 10))}
    for quantity in ("error", "zeros", "flips"):
        history[quantity] = {name: random.random(looks).tolist() for name in names}
    history["flips"] = {name: [None, *v[1:]] for name, v in history["flips"].items()}
    figure = monitor_plot.draw(history)
    figure.savefig(tmp_path / "many.png")
    assert _pixels(tmp_path / "many.png").std() > 10
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == names


def test_errors(tmp_path, monkeypatch):
    for every in (0, -1, 1.5, True, None):
        with pytest.raises(ValueError, match="every counts training steps"):
            QuantizationMonitor(every=every)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="log_dir .*file.* cannot be made"):
        QuantizationMonitor(log_dir=tmp_path / "file" / "logs")
    with pytest.raises(ValueError, match="there is no folder"):
        QuantizationMonitor(plot=tmp_path / "missing" / "inside.png")
    with pytest.raises(ValueError, match="must end in .png or .pdf or .svg"):
        QuantizationMonitor(plot=tmp_path / "inside.gif")
    with pytest.raises(ValueError, match="nothing was measured yet"):
        QuantizationMonitor().plot()
    with pytest.raises(ValueError, match="must end in .json"):
        QuantizationMonitor().save(tmp_path / "inside.txt")
    for text in ("", "[]", '{"steps": [1]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="no history of a QuantizationMonitor"):
            QuantizationMonitor().restore(tmp_path / "bad.json")
    with pytest.raises(ValueError, match="'plain' has no quantized weights"):
        model = keras.Sequential([keras.Input((6, 6, 8)), keras.layers.Flatten()], name="plain")
        model.add(keras.layers.Dense(2))
        model.compile("sgd", "mse")
        fit(model, QuantizationMonitor())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"TensorBoard: pip install 'mobilequant\[plots\]'"):
            QuantizationMonitor(log_dir=tmp_path / "logs")
    with pytest.raises(ImportError, match=r"mobilequant\[plots\]"):
        QuantizationMonitor(plot=tmp_path / "inside.png")


def test_on_jax():
    """Within an epoch too: Keras gives a callback that asks the weights of that step."""
    script = """
import keras, numpy as np, mobilequant as mq
assert keras.backend.backend() == "jax"
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="logits")])
qmodel = mq.quantize(model, "w8a8")
qmodel.compile(keras.optimizers.SGD(0.3), "mse")
monitor = mq.training.QuantizationMonitor(every=2, batch=np.ones((1, 4), "float32"))
x = np.random.default_rng(0).normal(size=(16, 4))
qmodel.fit(x, np.ones((16, 8)), batch_size=2, epochs=2, verbose=0, callbacks=[monitor])
assert monitor.history["steps"] == [0, 2, 4, 6, 8, 10, 12, 14, 16], monitor.history
assert min(monitor.history["flips"]["logits"][1:]) > 0.02, monitor.history
assert len(set(monitor.history["error"]["logits"])) > 5, monitor.history
assert monitor.history["activation_error"]["logits"][-1] is not None
w = np.array(qmodel.get_layer("logits").flat_kernel())
np.testing.assert_array_equal(
    np.array(qmodel.get_layer("logits").weight_quantizer.levels(w)), monitor._levels["logits"]
)
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]


def _pixels(path):
    from PIL import Image

    with Image.open(path) as image:
        assert min(image.size) > 200
        return np.asarray(image.convert("L"), "float32")
