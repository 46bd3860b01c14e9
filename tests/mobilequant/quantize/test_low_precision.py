"""Models at any precision: they train, infer what they trained, save, and export where they can."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilequant as mq
import tflite_tools
from mobilequant.layers.activation_quantizer import ActivationQuantizer
from mobilequant.layers.weight_quantizer import WeightQuantizer
from mobilequant.quantize import freeze
from mobilequant.quantize.state import quantized_layers
from mobilequant.quantizers import Scheme, fake_quantize, levels


def network(seed=0, softmax=False):
    """A residual network of every kind of layer with weights."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((10, 10, 3), name="image")

    def normalized(layer, x, activation=True):
        x = keras.layers.BatchNormalization(name=f"{layer.name}_bn")(layer(x))
        return keras.layers.ReLU(6.0, name=f"{layer.name}_relu")(x) if activation else x

    conv = keras.layers.Conv2D
    x = normalized(conv(8, 3, 2, "same", use_bias=False, name="stem"), image)
    y = normalized(keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise"), x)
    y = normalized(conv(8, 1, use_bias=False, name="project"), y, activation=False)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    activation = "softmax" if softmax else None
    x = keras.layers.Dense(6, activation=activation, name="classes")(x)
    return keras.Model(image, x, name="small")


def images(count=16, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 10, 10, 3)).astype("float32")


def labels(count=16):
    return np.arange(count) % 6


def trained(qmodel, steps=2, batch_size=8):
    qmodel.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    qmodel.fit(
        images(), labels(), epochs=1, steps_per_epoch=steps, batch_size=batch_size, verbose=0
    )
    return qmodel


def output(qmodel, x=None, training=False):
    return np.asarray(qmodel(images(seed=1) if x is None else x, training=training))


@pytest.mark.parametrize(
    ("recipe", "estimator"),
    [
        ("w2a2", None),
        ("w1a1", "ste"),
        ("ternary-a4-2:4", None),
        ("w4a4", "lsq"),
        ("w32a32-2:4", None),
    ],
)
def test_trains_evaluates_and_loads(recipe, estimator, tmp_path):
    model = network()
    qmodel = mq.quantize(model, recipe, estimator=estimator)
    mq.calibrate(qmodel, images(), verbose=0)
    before = [w.copy() for w in qmodel.get_weights()]
    trained(qmodel)
    kernel = qmodel.get_layer("project").layer.kernel
    assert np.abs(kernel.numpy() - model.get_layer("project").kernel.numpy()).max() > 0
    assert all(np.isfinite(w).all() for w in qmodel.get_weights())
    assert any((a != b).any() for a, b in zip(before, qmodel.get_weights(), strict=True))

    # `evaluate` and `predict` are inference, whoever compiles it and however large the batch is.
    expected = output(qmodel, images())
    assert np.isfinite(expected).all() and np.ptp(expected) > 0
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        qmodel.predict(images(), batch_size=5, verbose=0), expected, atol=2e-5 * scale
    )
    accuracy = qmodel.evaluate(images(), labels(), verbose=0)[1]
    assert accuracy == pytest.approx(np.mean(expected.argmax(-1) == labels()))
    np.testing.assert_allclose(output(qmodel, images()[:1]), expected[:1], atol=2e-5 * scale)

    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    np.testing.assert_array_equal(output(loaded, images()), expected)
    for a, b in zip(quantized_layers(qmodel), quantized_layers(loaded), strict=True):
        assert [q.scheme for q in a.quantizers] == [q.scheme for q in b.quantizers]
    if recipe == "w4a4":  # goes on with its optimizer
        loaded.fit(images(), labels(), epochs=1, verbose=0)


@pytest.mark.parametrize("recipe", ["w2a2", "w1a1", "w4a4", "w1a4-2:4"])
@pytest.mark.parametrize("estimator", ["denoise", "ste"])
def test_inference_computes_the_simulation_by_hand(recipe, estimator):
    """A convolution of the dequantized weights and the dequantized input, nothing else."""
    qmodel = mq.quantize(network(), recipe, estimator=estimator)
    mq.calibrate(qmodel, images(), verbose=0)
    layer = qmodel.get_layer("project")
    x = tf.constant(np.random.default_rng(0).uniform(0, 3, (2, 5, 5, 8)).astype("float32"))
    quantizer = layer.input_quantizer
    scheme = quantizer.scheme
    low, high = quantizer.range.numpy()
    steps = 2**scheme.bits - 1
    q = np.clip(np.round((x - low) / ((high - low) / steps)), 0, steps)
    if estimator == "denoise":
        slope, offset = quantizer.dequantization.numpy()
    else:
        slope, offset = (high - low) / steps, low
    kernel = fake_quantize(layer.layer.kernel.value, layer.weight_scheme)
    y = tf.nn.conv2d((slope * q + offset).astype("float32"), kernel, 1, "VALID")
    normalization = layer.normalization
    mean, variance = normalization.moving_mean, normalization.moving_variance
    y = tf.nn.batch_normalization(
        y, mean, variance, normalization.beta, normalization.gamma, normalization.epsilon
    )
    np.testing.assert_allclose(layer(x, training=False), y, atol=1e-4 * np.abs(y).max())


@pytest.mark.parametrize("recipe", ["w2a2-2:4", "w8a8"])
def test_phases(recipe):
    model = network()
    qmodel = mq.calibrate(mq.quantize(model, recipe), images(), verbose=0)
    quantized = output(qmodel)
    float_output = output(model)
    assert np.abs(quantized - float_output).max() > 1e-4

    mq.set_phase(qmodel, "float")
    np.testing.assert_allclose(output(qmodel), float_output, atol=1e-5)
    np.testing.assert_allclose(
        output(qmodel, training=True), output(model, training=True), atol=1e-4
    )

    mq.set_phase(qmodel, "frozen")
    state = {
        v.path: v.numpy().copy() for v in qmodel.non_trainable_variables if "seed" not in v.path
    }
    trained(qmodel)
    for variable in qmodel.non_trainable_variables:
        if variable.path in state:
            np.testing.assert_array_equal(variable.numpy(), state[variable.path], variable.path)
    # Frozen, training is inference, but for the integers of a device.
    a, b = output(qmodel), output(qmodel, training=True)
    step = 0.05 * np.ptp(a) if recipe == "w8a8" else 1e-4 * np.abs(a).max()
    assert np.abs(a - b).max() <= step


def test_learned_ranges_start_at_calibration_learn_and_freeze():
    qmodel = mq.quantize(network(), "w4a4", estimator="lsq")
    mq.calibrate(qmodel, images(), verbose=0)
    layer = qmodel.get_layer("project")
    quantizer = layer.input_quantizer
    assert {"step", "offset"} <= {v.name for v in quantizer.trainable_variables}
    low, high = quantizer.range.numpy()
    np.testing.assert_allclose(quantizer.unit, (high - low) / 15, rtol=1e-5)
    np.testing.assert_allclose(quantizer.base * quantizer.unit, low, rtol=1e-5, atol=1e-7)
    assert float(quantizer.step) == 1 and float(quantizer.offset) == 0
    assert (layer.weight_quantizer.step.numpy() > 0).all()

    def steps():
        return [
            v.numpy().copy()
            for q in (quantizer, layer.weight_quantizer)
            for v in q.trainable_variables
        ]

    before = steps()
    trained(qmodel)
    assert all((a != b).any() for a, b in zip(before, steps(), strict=True))
    mq.set_phase(qmodel, "frozen")
    # Adam's momentum moves the learned numbers on where their gradient is 0, but not the range.
    x, learned = images()[:2], quantizer.step.numpy().copy()
    before = quantizer.range.numpy().copy(), quantizer.infer(x[..., :1]).numpy()
    qmodel.train_on_batch(images(), labels())
    assert (learned != quantizer.step.numpy()).any()
    for a, b in zip(before, (quantizer.range, quantizer.infer(x[..., :1])), strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    before = [v.numpy().copy() for v in quantizer.trainable_variables]
    qmodel.compile(keras.optimizers.SGD(1.0), qmodel.loss, jit_compile=False)
    qmodel.train_on_batch(images(), labels())
    for a, b in zip(before, quantizer.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_learned_ranges_without_calibration_start_from_the_first_batch():
    qmodel = mq.quantize(network(), "w4a4")
    quantizer = qmodel.get_layer("project").input_quantizer
    float_output = output(qmodel)
    assert not quantizer.calibrated
    qmodel.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    qmodel.train_on_batch(images(), np.zeros((16, 6), "float32"))
    assert quantizer.calibrated and float(quantizer.unit) > 0
    low, high = quantizer.range.numpy()
    np.testing.assert_allclose((high - low) / 15, quantizer.unit, rtol=1e-5)
    # A learning rate of 0 keeps the start, and a second batch does not move it.
    qmodel.train_on_batch(10 * images(seed=2), np.zeros((16, 6), "float32"))
    np.testing.assert_allclose(quantizer.range.numpy(), [low, high], rtol=1e-5)
    assert (output(qmodel) != float_output).any()


def test_the_step_of_weights_learns_as_its_paper_says():
    """arXiv:1902.08153, section 2.2: the gradient of the step, over √(N·Q_P)."""
    quantizer = WeightQuantizer(Scheme(bits=4, estimator="lsq"))
    random = np.random.default_rng(0)
    kernel, upstream = (random.normal(size=(3, 3, 5, 4)).astype("float32") for _ in range(2))
    quantizer.build(tf.constant(kernel))
    step = quantizer.unit.numpy() * quantizer.step.numpy()
    rms = np.sqrt(np.square(kernel).mean((0, 1, 2), keepdims=True))
    expected = np.minimum(quantizer.scheme.width * rms, np.abs(kernel).max((0, 1, 2))) / 7
    np.testing.assert_allclose(step, expected, rtol=1e-5)
    quantizer.step.assign(quantizer.step * 0.9)  # no weight at the very end
    step = quantizer.unit.numpy() * quantizer.step.numpy()
    with tf.GradientTape() as tape:
        y = quantizer(tf.constant(kernel), on=True)
    gradient = tape.gradient(y, quantizer.step.value, upstream)
    v = kernel / step
    by_step = np.where(np.abs(v) < 7, np.round(v) - v, 7 * np.sign(v))
    # The variable counts in units of where it started.
    expected = (by_step * upstream).sum((0, 1, 2)) / np.sqrt(45 * 7) * np.squeeze(quantizer.unit)
    np.testing.assert_allclose(np.squeeze(gradient), expected, rtol=1e-3, atol=1e-4)


# Sparsity.


def test_the_share_of_zeros_grows_by_the_cubic_rule():
    """arXiv:1710.01878, eq. 1; in the float phase nothing is dropped, and no step counted."""
    recipe = mq.Recipe(weights=Scheme(bits=8, sparsity=0.8, sparsity_ramp=4))
    qmodel = mq.calibrate(mq.quantize(network(), recipe), images(), verbose=0)
    layer = qmodel.get_layer("project")

    def zeros():
        kernel = layer.layer.kernel.value
        with_zeros = np.asarray(layer.weight_quantizer.levels(kernel)) == 0
        # What rounds to 0 is no zero of sparsity; few weights do.
        return with_zeros.mean()

    mq.set_phase(qmodel, "float")
    trained(qmodel)
    assert float(layer.weight_quantizer.steps_seen) == 0 and zeros() < 0.05
    mq.set_phase(qmodel, "quantized")
    for step in range(1, 7):
        qmodel.train_on_batch(images(8), labels(8))
        assert float(layer.weight_quantizer.steps_seen) == step
        share = 0.8 * (1 - (1 - min(step / 4, 1)) ** 3)
        assert zeros() == pytest.approx(share, abs=0.04)
    before = float(layer.weight_quantizer.steps_seen)
    qmodel.evaluate(images(), labels(), verbose=0)
    assert float(layer.weight_quantizer.steps_seen) == before


def test_depthwise_kernels_stay_dense():
    qmodel = mq.quantize(network(), "w8a8-2:4")
    assert qmodel.get_layer("depthwise").weight_scheme.sparsity is None
    for name in ("stem", "project", "classes"):
        assert qmodel.get_layer(name).weight_scheme.sparsity == "2:4"


def assert_pattern(kernel, kept, of):
    """N:M along the input dimension, the last but one."""
    inputs = kernel.shape[-2] // of * of
    if not inputs:
        return
    groups = kernel[..., :inputs, :].reshape(-1, inputs // of, of, kernel.shape[-1])
    assert ((groups != 0).sum(2) <= kept).all()


# Export.

EXPORTABLE = {
    "w1a8": "w1a8",
    "w2a8": "w2a8",
    "w4a8": "w4a8",
    "ternary-a8": "ternary-a8",
    "w8a8-2:4": "w8a8-2:4",
    "w4a8-50%": "w4a8-50%",
    "lsq": mq.Recipe(
        weights=Scheme(bits=4, estimator="lsq"),
        activations=Scheme(bits=8, grid="affine", granularity="tensor", estimator="lsq"),
    ),
    "std weights, percentile activations": mq.Recipe(
        weights=Scheme(bits=3, range="std", estimator="ste"),
        activations=Scheme(
            bits=8, grid="affine", granularity="tensor", range="percentile", range_width=0.99
        ),
    ),
    "percentile weights, moving activations": mq.Recipe(
        weights=Scheme(bits=2, range="percentile", range_width=0.9),
        activations=Scheme(bits=8, grid="affine", granularity="tensor", range="moving"),
    ),
    "std activations": mq.Recipe(
        weights=Scheme(bits="ternary", range="std", sparsity="1:4"),
        activations=Scheme(bits=8, grid="affine", granularity="tensor", range="std"),
    ),
}


@pytest.mark.parametrize("name", EXPORTABLE)
def test_what_a_device_holds_converts_and_agrees(name, tmp_path):
    qmodel = mq.quantize(network(softmax=True), EXPORTABLE[name])
    mq.calibrate(qmodel, images(), verbose=0)
    if name == "lsq":
        # Away from where learning starts; two steps of training would, and take 5 s.
        random = np.random.default_rng(0)
        for variable in qmodel.trainable_variables:
            variable.assign(variable * random.uniform(0.8, 1.1, variable.shape))
    report = tflite_tools.convert(qmodel, tmp_path / "m.tflite")
    assert set(report.operators) <= {
        "ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "SOFTMAX"
    }  # fmt: skip
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", images(64, seed=1), layers=True)
    assert result.first_difference is None or result.first_difference.kind == "SOFTMAX", str(result)
    assert result.logits.equal == 1 and result.max_steps <= 1

    for operator in freeze(qmodel).operators:
        if operator.weights is None:
            continue
        scheme, values = qmodel.get_layer(operator.name).weight_scheme, operator.weights.values
        largest = {1: 1, 2: 3, "ternary": 1, 3: 3, 4: 7, 8: 127}[scheme.bits]
        assert np.abs(values).max() <= largest
        if isinstance(scheme.sparsity, str):
            assert_pattern(values, *map(int, scheme.sparsity.split(":")))
        elif scheme.sparsity is not None:
            assert (values == 0).mean() >= scheme.sparsity - 1 / values.size


def test_the_zeros_of_a_sparse_model_are_in_its_file(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    qmodel = mq.calibrate(mq.quantize(network(), "w8a8-2:4"), images(), verbose=0)
    tflite_tools.convert(qmodel, tmp_path / "m.tflite")
    interpreter = Interpreter(str(tmp_path / "m.tflite"))
    interpreter.allocate_tensors()
    kernels = {}
    for details in interpreter.get_tensor_details():
        if details["dtype"] == np.int8 and tuple(details["shape"]) in ((8, 1, 1, 8), (6, 8)):
            kernels[tuple(details["shape"])] = interpreter.get_tensor(details["index"])
    assert len(kernels) == 2
    for kernel in kernels.values():
        # TFLite's layout has the input dimension last and the output channels first.
        assert_pattern(kernel.reshape(kernel.shape[0], -1).T, 2, 4)
        assert (kernel == 0).mean() == pytest.approx(0.5, abs=0.05)


NOT_EXPORTABLE = {
    "activations of few bits": ("w2a2", ["stem", "project", "classes"]),
    "float weights": ("w32a8", ["stem", "project"]),
    "float": ("w32a32-2:4", ["stem", "project"]),
    "affine weights": (mq.Recipe(weights=Scheme(bits=4, grid="affine")), ["stem", "project"]),
    "blocks": (mq.Recipe(weights=Scheme(granularity="block", block_size=8)), ["stem", "project"]),
    "linear activations": (
        mq.Recipe(activations=Scheme(bits=8, grid="linear", granularity="tensor")),
        ["project"],
    ),
    "a scale a channel": (
        mq.Recipe(activations=Scheme(bits=8, grid="affine", granularity="channel")),
        ["project"],
    ),
    "one layer": (mq.Recipe(overrides={"project": "w8a4"}), ["project"]),
}


@pytest.mark.parametrize("name", NOT_EXPORTABLE)
def test_what_no_device_holds_trains_but_is_refused_by_name(name, tmp_path):
    recipe, named = NOT_EXPORTABLE[name]
    qmodel = mq.calibrate(mq.quantize(network(), recipe), images(), verbose=0)
    assert np.isfinite(output(qmodel)).all()
    assert np.isfinite(output(qmodel, training=True)).all()
    with pytest.raises(ValueError, match="trains and evaluates in Keras") as error:
        freeze(qmodel)
    for layer in named:
        assert f"'{layer}'" in str(error.value)
    if name == "one layer":
        assert "'stem'" not in str(error.value)
    assert "'w8a8'" in str(error.value)
    path = tmp_path / "m.tflite"
    with pytest.raises(tflite_tools.ConversionError, match="quantize it by a recipe with"):
        tflite_tools.convert(qmodel, path)
    assert not path.exists()


def test_layers_of_any_kind_flow_in_float_at_low_precision():
    """Only what has a kernel is quantized: activations without a rule at 8 bits do no harm."""
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="first")(image)
    x = keras.layers.Activation("tanh")(x)
    x = keras.layers.Conv2D(4, 3, name="second")(x)
    x = keras.layers.GroupNormalization(2)(x)
    x = keras.layers.Dense(3, name="third")(keras.layers.Flatten()(x))
    model = keras.Model(image, x)
    qmodel = mq.quantize(model, "w2a2")
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype("float32")
    mq.calibrate(qmodel, x, verbose=0)
    qmodel.compile("adam", "mse", jit_compile=False)
    qmodel.fit(x, np.zeros((8, 3)), verbose=0)
    assert np.isfinite(np.asarray(qmodel(x))).all()
    with pytest.raises(ValueError, match="stand in the way"):
        mq.quantize(model, "w8a8")


def test_an_override_that_fits_no_layer_is_an_error():
    recipe = mq.Recipe(overrides={"stem": "w8a8", "dense": "w8a8", "stm*": "w4a8"})
    with pytest.raises(ValueError, match=r"'stm\*' fits no layer with weights; they are 'stem'"):
        mq.quantize(network(), recipe)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (Scheme(granularity="block", range="learned"), "ranges of blocks are not learned"),
        (Scheme(range="moving"), "'moving' is for activations"),
    ],
)
def test_weight_quantizers_that_cannot_be(scheme, message):
    with pytest.raises(ValueError, match=message):
        WeightQuantizer(scheme, name="mine")


def test_levels_of_a_trained_layer_are_those_of_its_file():
    qmodel = mq.calibrate(mq.quantize(network(), "w2a8"), images(), verbose=0)
    layer = qmodel.get_layer("project")
    kernel = layer.layer.kernel.value
    integers, _ = layer.weight_quantizer.integers(kernel)
    np.testing.assert_array_equal(layer.weight_quantizer.levels(kernel), integers)
    np.testing.assert_array_equal(levels(kernel, layer.weight_scheme), integers)


def test_learned_grids_have_the_same_bits_wherever_they_are_computed():
    """XLA would fuse low + span, a graph reorder unit · step · 255."""
    device = Scheme(bits=8, grid="affine", granularity="tensor", estimator="lsq")
    activations = ActivationQuantizer(device)
    activations.build()
    weights = WeightQuantizer(Scheme(bits=4, estimator="lsq"))
    random = np.random.default_rng(0)
    kernel = tf.constant(random.normal(size=(40, 500)).astype("float32"))
    weights.build(kernel)
    weights.step.assign(random.uniform(0.5, 1.5, weights.step.shape))

    def numbers():
        return [*activations.grid(), *weights.integers(kernel)]

    compiled = [tf.function(numbers, jit_compile=jit) for jit in (False, True)]
    for _ in range(100):
        activations.unit.assign(random.uniform(0.001, 0.1))
        activations.step.assign(random.uniform(0.5, 1.5))
        activations.offset.assign(random.uniform(-255, 0))
        expected = numbers()
        for function in compiled:
            for a, b in zip(expected, function(), strict=True):
                np.testing.assert_array_equal(a, b)
