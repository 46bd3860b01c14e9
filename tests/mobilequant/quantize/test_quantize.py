"""What `quantize` makes of a model: structure, folding, training, saving, errors."""

import os
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilequant as mq
import tflite_tools
from mobilequant.layers.base import QuantizedLayer
from mobilequant.quantize import freeze, infer_integers, infer_tensors
from mobilequant.quantize.rules import clone_layer


def small_model(seed=0, classes=5, softmax=True):
    """Every kind of layer that MobileNetV2 has, small; batch normalization as after training."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    skip = keras.layers.ReLU(6.0)(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(skip)
    x = keras.layers.BatchNormalization(name="depthwise_bn")(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.Conv2D(8, 1, name="project")(x)
    x = keras.layers.BatchNormalization(name="project_bn")(x)
    x = keras.layers.Add(name="add")([x, skip])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.2)(x)
    activation = "softmax" if softmax else None
    outputs = keras.layers.Dense(classes, activation=activation, name="classes")(x)
    model = keras.Model(inputs, outputs, name="small")
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.gamma.assign(random.uniform(0.5, 2, size) * random.choice([-1, 1], size))
            layer.beta.assign(random.normal(size=size))
            layer.moving_mean.assign(random.normal(size=size))
            layer.moving_variance.assign(random.uniform(0.2, 2, size))
    return model


def images(count=32, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 16, 16, 3)).astype("float32")


@pytest.fixture
def calibrated():
    return mq.calibrate(mq.quantize(small_model()), images(), verbose=0)


def test_structure():
    qmodel = mq.quantize(small_model())
    kinds = [type(layer).__name__ for layer in qmodel.layers]
    assert kinds == [
        "InputLayer",
        "QuantizedInput",
        "QuantizedConv2D",
        "QuantizedDepthwiseConv2D",
        "QuantizedConv2D",
        "QuantizedAdd",
        "QuantizedGlobalAveragePooling2D",
        "Dropout",
        "QuantizedDense",
        "QuantizedSoftmax",
    ]
    assert qmodel.layers[-1].name == "classes" and qmodel.name == "small"


def test_uncalibrated_is_the_float_model():
    model = small_model()
    np.testing.assert_allclose(
        mq.quantize(model).predict(images(), verbose=0),
        model.predict(images(), verbose=0),
        atol=1e-6,
    )


def test_the_float_model_is_left_alone():
    model = small_model()
    before = [w.copy() for w in model.get_weights()]
    qmodel = mq.calibrate(mq.quantize(model), images(), verbose=0)
    qmodel.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    qmodel.fit(images(), np.zeros(32), verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("recipe", ["w8a8", "w4a8", "w2a8", "w1a8"])
@pytest.mark.parametrize("estimator", ["denoise", "ste"])
def test_calibrated_is_close_to_float(recipe, estimator):
    model = small_model(softmax=False)
    qmodel = mq.calibrate(mq.quantize(model, recipe, estimator=estimator), images(), verbose=0)
    expected, actual = (np.asarray(m(images(seed=1), training=False)) for m in (model, qmodel))
    correlation = np.corrcoef(expected.ravel(), actual.ravel())[0, 1]
    assert correlation > {"w8a8": 0.999, "w4a8": 0.97, "w2a8": 0.6, "w1a8": -1.0}[recipe]


@pytest.mark.parametrize("estimator", ["denoise", "ste"])
def test_training_form_and_integers_within_one_step_layer_by_layer(estimator):
    """At the same frozen statistics; each layer fed with the same, exact, inputs."""
    qmodel = mq.calibrate(mq.quantize(small_model(), estimator=estimator), images(), verbose=0)
    mq.set_phase(qmodel, "frozen")
    tensors = {}
    for layer in qmodel.layers[1:]:
        source = layer._inbound_nodes[0].input_tensors
        inputs = [tensors.get(id(t), tf.constant(images(seed=2))) for t in source]
        inputs = inputs if len(inputs) > 1 else inputs[0]
        exact = layer(inputs, training=False)
        if isinstance(layer, QuantizedLayer) and "softmax" not in type(layer).__name__.lower():
            trained = layer(inputs, training=True)
            steps = np.abs(exact - trained) / layer.output_quantizer.grid().scale
            assert steps.numpy().max() < 1.01, layer.name
            assert steps.numpy().mean() < 0.1, layer.name
        tensors[id(layer.output)] = exact


def test_folding_of_hard_channels():
    """γ < 0, γ = 0, and a nearly dead channel whose bias would leave int32."""
    model = small_model()
    normalization = model.get_layer("project_bn")
    gamma, variance = normalization.gamma.numpy(), normalization.moving_variance.numpy()
    gamma[:4], variance[3] = [-2.0, 0.0, 1e-9, 1e-3], 1e10
    normalization.gamma.assign(gamma)
    normalization.moving_variance.assign(variance)
    qmodel = mq.calibrate(mq.quantize(model), images(), verbose=0)
    weights = next(op for op in freeze(qmodel).operators if op.name == "project").weights
    assert weights.bias.dtype == np.int32 and np.abs(weights.bias.astype(float)).max() <= 2**30
    assert (weights.scales > 0).all() and np.isfinite(weights.scales).all()
    assert not weights.values[..., 1].any() and np.abs(weights.values[..., 0]).max() > 100
    plain = np.round(
        model.get_layer("project").kernel.numpy()[..., 0]
        / np.abs(model.get_layer("project").kernel.numpy()[..., 0]).max()
        * 127
    )
    np.testing.assert_array_equal(weights.values[..., 0], -plain)
    # The constant channel keeps its value.
    layer = qmodel.get_layer("project")
    value = infer_tensors(qmodel, images(4))["project"][..., 1].astype(float)
    grid = layer.output_quantizer.grid()
    beta = normalization.beta.numpy()[1]
    assert np.abs((value - float(grid.zero_point)) * float(grid.scale) - beta).max() <= (
        0.51 * float(grid.scale)
    )


def test_zero_padding_before_a_valid_convolution_becomes_same():
    inputs = keras.Input((15, 16, 3))
    x = keras.layers.ZeroPadding2D(((1, 1), (0, 1)))(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="valid")(x)
    kinds = [op.kind for op in freeze(_ranged(keras.Model(inputs, x), (15, 16, 3))).operators]
    assert kinds == ["CONV_2D"]
    x = keras.layers.ZeroPadding2D(2)(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="valid")(x)
    kinds = [op.kind for op in freeze(_ranged(keras.Model(inputs, x), (15, 16, 3))).operators]
    assert kinds == ["PAD", "CONV_2D"]


def _ranged(model, shape):
    data = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    return mq.calibrate(mq.quantize(model), data, verbose=0)


def test_targets_have_one_scale_for_dense():
    for target in ("phone", "edgetpu"):
        qmodel = mq.calibrate(mq.quantize(small_model(), target=target), images(), verbose=0)
        graph = freeze(qmodel)
        assert graph.target == target
        scales = {op.kind: op.weights.scales.size for op in graph.operators if op.weights}
        assert scales["FULLY_CONNECTED"] == 1 and scales["CONV_2D"] == 8


def test_keras_applications_with_and_without_top():
    for include_top in (True, False):
        model = keras.applications.MobileNetV2(
            (32, 32, 3), alpha=0.35, weights=None, include_top=include_top, classes=7
        )
        graph = freeze(_ranged(model, (32, 32, 3)))
        kinds = {op.kind for op in graph.operators}
        assert kinds <= {
            "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"
        }  # fmt: skip
        assert graph.operators[-1].kind == ("SOFTMAX" if include_top else "CONV_2D")


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_evaluate_predict(jit_compile):
    qmodel = mq.quantize(small_model())
    qmodel.compile(
        keras.optimizers.Adam(1e-2),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    x = images(64)
    y = (x.mean((1, 2, 3)) > 0).astype(int)
    history = qmodel.fit(x, y, epochs=6, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < history[0]
    # Mixed batch sizes, and the same integers whoever compiles them.
    expected = np.asarray(qmodel(x, training=False))
    np.testing.assert_array_equal(qmodel.predict(x, batch_size=24, verbose=0), expected)
    np.testing.assert_array_equal(
        np.concatenate([np.asarray(qmodel(x[:1])), np.asarray(qmodel(x[1:]))]), expected
    )
    assert qmodel.evaluate(x, y, verbose=0)[1] == np.mean(expected.argmax(-1) == y)


def test_a_frozen_part_stays_frozen():
    model = small_model()
    model.get_layer("stem").trainable = False
    model.get_layer("stem_bn").trainable = False
    qmodel = mq.quantize(model)
    qmodel.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    qmodel.fit(images(), np.zeros(32), verbose=0)
    stem = qmodel.get_layer("stem")
    for ours, theirs in (
        (stem.layer, model.get_layer("stem")),
        (stem.normalization, model.get_layer("stem_bn")),
    ):
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_regularizers_still_count():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
    model = keras.Model(inputs, x)
    assert float(sum(mq.quantize(model).losses)) == pytest.approx(float(sum(model.losses)))


def test_save_and_load_in_a_fresh_process(calibrated, tmp_path):
    calibrated.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    calibrated.fit(images(), np.zeros(32), verbose=0)
    calibrated.save(tmp_path / "q.keras")
    np.save(tmp_path / "x.npy", images(seed=3))
    np.save(tmp_path / "y.npy", np.asarray(calibrated(images(seed=3))))
    script = """
        import keras, numpy as np, mobilequant
        model = keras.models.load_model("q.keras")
        np.testing.assert_array_equal(np.asarray(model(np.load("x.npy"))), np.load("y.npy"))
        model.fit(np.load("x.npy"), np.zeros(32), verbose=0)
        graph = mobilequant.freeze(model)
        assert graph.target == "phone" and graph.recipe == "w8a8", graph
    """
    root = pathlib.Path(mq.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        timeout=300,
    )


def test_clone_and_weights_transfer(calibrated):
    clone = keras.models.clone_model(calibrated)
    clone.set_weights(calibrated.get_weights())
    x = images(seed=4)
    np.testing.assert_array_equal(np.asarray(clone(x)), np.asarray(calibrated(x)))
    for a, b in zip(infer_integers(clone, x), infer_integers(calibrated, x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_part_of_the_model_gives_the_same_integers(calibrated):
    logits = keras.Model(calibrated.input, calibrated.get_layer("classes_logits").output)
    (part,) = infer_integers(logits, images())
    np.testing.assert_array_equal(part, infer_tensors(calibrated, images())["classes_logits"])
    assert freeze(logits).operators[-1].kind == "FULLY_CONNECTED"


def test_infer_tensors_has_every_tensor_of_the_frozen_graph(calibrated):
    tensors = infer_tensors(calibrated, images(2))
    graph = freeze(calibrated)
    assert set(tensors) == {tensor.name for tensor in graph.tensors}
    for tensor in graph.tensors:
        assert tensors[tensor.name].shape == (2, *tensor.shape)
        assert tensors[tensor.name].dtype == np.int8


# Bad input.


def test_unsupported_layers_are_listed_together():
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="selu", name="first")(inputs)
    x = keras.layers.GroupNormalization(2, name="second")(x)
    x = keras.layers.Conv2DTranspose(4, 3, dilation_rate=2, name="third")(x)
    with pytest.raises(ValueError, match="stand in the way") as error:
        mq.quantize(keras.Model(inputs, x))
    for name in ("'first'", "'second'", "'third'", "selu", "GroupNormalization"):
        assert name in str(error.value)


def test_subclassed_and_foreign_models():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TypeError, match="subclassed model"):
        mq.quantize(Subclassed(name="mine"))
    with pytest.raises(TypeError, match="Expected a Keras 3 model"):
        mq.quantize("model.keras")
    with pytest.raises(ValueError, match="must know its input shape"):
        mq.quantize(keras.Sequential([keras.layers.Dense(3)]))


def test_sequential():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.ReLU()]
    )
    (operator,) = freeze(_ranged(model, (8, 8, 3))).operators
    assert (operator.kind, operator.activation) == ("CONV_2D", "RELU")


def test_bad_arguments():
    model = small_model()
    with pytest.raises(ValueError, match="Unknown recipe 'w9a8'"):
        mq.quantize(model, "w9a8")
    with pytest.raises(ValueError, match="Unknown target 'toaster'.*'phone', .*'edgetpu'"):
        mq.quantize(model, target="toaster")
    with pytest.raises(ValueError, match="Unknown estimator"):
        mq.quantize(model, estimator="magic")
    with pytest.raises(ValueError, match="quantized already"):
        mq.quantize(mq.quantize(model))
    with pytest.raises(ValueError, match="Unknown phase"):
        mq.set_phase(mq.quantize(model), "liquid")
    with pytest.raises(ValueError, match="is not quantized"):
        mq.set_phase(model, "float")


def test_nan_weights_name_the_layer():
    model = small_model()
    kernel = model.get_layer("project").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(ValueError, match=r"Layer 'project'.*NaN"):
        mq.quantize(model)


def test_nan_after_training_is_refused_by_freeze(calibrated):
    kernel = calibrated.get_layer("stem").layer.kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(ValueError, match=r"Layer 'stem'.*NaN"):
        freeze(calibrated)


def test_freeze_refuses_what_has_no_ranges_or_sizes(calibrated):
    with pytest.raises(ValueError, match=r"no ranges yet in.*'stem'.*calibrate"):
        freeze(mq.quantize(small_model()))
    with pytest.raises(ValueError, match="is not quantized"):
        freeze(small_model())
    mq.set_phase(calibrated, "float")
    with pytest.raises(ValueError, match="switched off"):
        freeze(calibrated)
    inputs = keras.Input((None, None, 3))
    open_size = mq.quantize(keras.Model(inputs, keras.layers.Conv2D(4, 3, name="open")(inputs)))
    mq.calibrate(open_size, images(2), verbose=0)
    with pytest.raises(ValueError, match="unknown size"):
        freeze(open_size)


@pytest.mark.parametrize("factor", [1e-2, 1e-5, 1e-9])
def test_a_dead_branch_is_added_as_on_the_device(factor, tmp_path):
    """XNNPACK leaves such an ADD to LiteRT's own kernel."""
    model = small_model()
    for variable in model.get_layer("project_bn").trainable_variables:
        variable.assign(variable * factor)
    qmodel = mq.calibrate(mq.quantize(model), images(), verbose=0)
    scales = {tensor.name: tensor.scale for tensor in freeze(qmodel).tensors}
    assert scales["project"] < factor * scales["add"] * 2
    tflite_tools.convert(qmodel, tmp_path / "m.tflite")
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", images(8), layers=True)
    assert result.first_difference is None and result.span > 50


def test_a_users_own_rule():
    @keras.saving.register_keras_serializable("test")
    class Doubled(keras.layers.Conv2D):
        pass

    @mq.register_rule(Doubled)
    class Rule(mq.Rule):
        def build(self, group, context):
            return [
                mq.layers.QuantizedConv2D(
                    clone_layer(group[0].layer),
                    weights=context.recipe.weights,
                    activations=context.recipe.activations,
                )
            ]

    inputs = keras.Input((8, 8, 3))
    qmodel = _ranged(keras.Model(inputs, Doubled(4, 3, name="own")(inputs)), (8, 8, 3))
    assert freeze(qmodel).operators[0].name == "own"
