"""`sensitivity`: which layer is blamed, how much, and that the model stays as it was."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilequant as mq
from mobilequant.layers.activation_quantizer import simulating
from mobilequant.quantize.state import quantized_layers
from mobilequant.quantizers import fake_quantize


def network(outputs=1):
    """Convolutions "a", "b", "c", an addition, and one or two heads."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 3), name="image")
    conv = keras.layers.Conv2D
    x = conv(6, 3, padding="same", activation="relu", name="a")(inputs)
    y = conv(6, 3, padding="same", activation="relu", name="b")(x)
    y = conv(6, 3, padding="same", name="c")(y)
    x = keras.layers.Add(name="sum")([x, y])
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    heads = [keras.layers.Dense(4, activation="softmax", name="classes")(x)]
    if outputs == 2:
        heads.append(keras.layers.Dense(2, name="place")(x))
    return keras.Model(inputs, heads if outputs > 1 else heads[0], name="net")


def images(count=24, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 3)).astype("float32")


def quantized(model=None, recipe="w8a8"):
    return mq.calibrate(mq.quantize(model or network(), recipe), images(), verbose=0)


def costs_of(qmodel, data=None, **options):
    return mq.sensitivity(qmodel, images() if data is None else data, verbose=0, **options)


def row_of(costs, name):
    return next(row for row in costs.layers if row.name == name)


@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize("mode", ["only", "except"])
def test_the_layer_with_fewer_bits_is_the_worst(name, mode):
    recipe = mq.Recipe.named("w8a8")
    recipe = dataclasses.replace(recipe, overrides={name: "w2a8"})
    costs = costs_of(quantized(recipe=recipe), mode=mode)
    assert costs.layers[0].name == name
    assert costs.layers[0].weights.startswith("2 bits")
    ordered = [row.error for row in costs.layers]
    assert ordered == sorted(ordered, reverse=mode == "only")


def test_a_weight_far_from_the_others_is_found():
    model = network()
    kernel = model.get_layer("b").kernel
    spoilt = kernel.numpy()
    spoilt[1, 1, 0, 0] = 300.0 * np.abs(spoilt).max()
    kernel.assign(spoilt)
    # Its channel overshadows the others unless each has a scale of its own.
    weights = mq.Scheme(bits=8, granularity="tensor")
    costs = costs_of(quantized(model, mq.Recipe(weights=weights)), part="weights")
    assert costs.layers[0].name == "b"
    assert costs.layers[0].snr < costs.layers[1].snr - 10


def test_only_is_what_a_model_quantized_by_hand_computes():
    model, x = network(), images()
    qmodel = quantized(model, "w4a8")
    scheme = qmodel.get_layer("b").weight_scheme
    logits = keras.Model(model.input, model.get_layer("classes").output)
    logits.get_layer("classes").activation = keras.activations.linear
    expected = np.asarray(logits(x))
    by_hand = keras.models.clone_model(logits)
    by_hand.set_weights(logits.get_weights())
    kernel = by_hand.get_layer("b").kernel
    kernel.assign(fake_quantize(kernel.value, scheme))
    noise = np.asarray(by_hand(x)) - expected
    error = np.square(noise).sum() / np.square(expected).sum()
    model.get_layer("classes").activation = keras.activations.softmax
    found = costs_of(qmodel, part="weights")
    assert row_of(found, "b").error == pytest.approx(error, rel=1e-3)
    assert row_of(found, "b").activations == ""
    assert "sum" not in [row.name for row in found.layers]


def test_activations_alone_are_those_of_the_grid():
    model, x = network(), images()
    qmodel = quantized(model)
    grid = qmodel.get_layer("sum").output_quantizer.grid()
    before = keras.Model(model.input, model.get_layer("sum").output)(x)
    q = np.clip(np.round(before / grid.scale) + grid.zero_point, -128, 127)
    on_grid = (q - grid.zero_point) * grid.scale
    kernel, bias = (np.asarray(w) for w in model.get_layer("classes").get_weights())
    expected = np.mean(before, (1, 2)) @ kernel + bias
    noise = np.mean(on_grid, (1, 2)) @ kernel + bias - expected
    error = np.square(noise).sum() / np.square(expected).sum()
    found = costs_of(qmodel, part="activations")
    assert row_of(found, "sum").error == pytest.approx(error, rel=0.05)


def test_everything_quantized_is_close_to_the_integers():
    model, x = network(2), images()
    qmodel = quantized(model)
    costs = costs_of(qmodel)
    # The second output is no softmax, so that the integers can be compared with.
    expected, found = (np.asarray(m(x, training=False)[1]) for m in (model, qmodel))
    integers = np.square(found - expected).sum() / np.square(expected).sum()
    with simulating():
        simulated = np.asarray(qmodel(x)[1])
    assert np.square(simulated - expected).sum() / np.square(expected).sum() == pytest.approx(
        integers, rel=0.3
    )
    assert costs.whole_error > integers
    assert 20 < costs.whole_snr < 60


@pytest.mark.parametrize("phase", ["quantized", "frozen", "float"])
def test_the_model_stays_as_it_was(phase):
    qmodel = quantized()
    mq.set_phase(qmodel, phase)
    before = [w.copy() for w in qmodel.get_weights()]
    outputs = np.asarray(qmodel(images()))
    costs_of(qmodel)
    for a, b in zip(before, qmodel.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(outputs, qmodel(images()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_the_phase_is_restored_after_an_interrupt(error):
    qmodel = quantized()
    qmodel.get_layer("b").output_quantizer.phase.assign(2)
    calls = []

    def metric(labels, outputs):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return 0.0

    with pytest.raises(error):
        costs_of(qmodel, (images(), np.zeros(24)), metric=metric)
    phases = {
        layer.name: int(layer.output_quantizer.phase.numpy()) for layer in quantized_layers(qmodel)
    }
    assert phases.pop("b") == 2 and set(phases.values()) == {1}


def test_layers_that_keep_a_grid_and_inner_precision():
    """Average pooling has nothing to quantize; 4-bit activations belong to what takes them."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="a")(inputs)
    x = keras.layers.AveragePooling2D(2, name="pool")(x)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="b")(x)
    x = keras.layers.Dense(3, name="c")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x, name="pooled")
    names = [row.name for row in costs_of(quantized(model)).layers]
    assert sorted(names)[:3] == ["a", "b", "c"] and "pool" not in names
    low = costs_of(quantized(model, "w4a4"))
    assert row_of(low, "b").weights.startswith("4 bits")
    assert row_of(low, "b").activations.startswith("4 bits")
    assert low.layers[0].name == "b"


def test_metrics():
    model, x = network(), images()
    labels = np.argmax(model(x), -1)
    qmodel = quantized(model, "w2a8")
    costs = costs_of(qmodel, (x, labels), metric="accuracy", batch_size=7)
    assert costs.metric_float == 1.0 and costs.metric_whole <= 1.0
    assert all(0 <= row.metric <= 1 for row in costs.layers)
    one_hot = np.eye(4)[labels]
    dataset = tf.data.Dataset.from_tensor_slices((x, one_hot)).batch(7)
    for metric in ("accuracy", "categorical_accuracy", keras.metrics.CategoricalAccuracy()):
        same = costs_of(qmodel, dataset, metric=metric)
        assert same.metric_whole == pytest.approx(costs.metric_whole)
        assert [row.error for row in same.layers] == pytest.approx(
            [row.error for row in costs.layers]
        )

    def two(labels, outputs):
        assert [output.shape for output in outputs] == [(24, 4), (24, 2)]
        return -5.0

    assert costs_of(quantized(network(2)), (x, labels), metric=two).metric_whole == -5.0


def test_several_inputs():
    inputs = [keras.Input((4,), name="left"), keras.Input((4,), name="right")]
    x = keras.layers.Concatenate(name="both")(
        [keras.layers.Dense(5, name="l")(inputs[0]), keras.layers.Dense(5, name="r")(inputs[1])]
    )
    model = keras.Model(inputs, keras.layers.Dense(2, name="end")(x))
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(16, 4)).astype("float32") for _ in range(2)]
    qmodel = mq.calibrate(mq.quantize(model), [arrays], verbose=0)
    listed = costs_of(qmodel, [arrays])
    named = costs_of(qmodel, [{"right": arrays[1], "left": arrays[0]}])
    assert listed.to_dict() == named.to_dict() and listed.images == 16


def test_the_table_and_the_dictionary():
    costs = costs_of(quantized(recipe="w4a8"))
    text = str(costs)
    lines = text.splitlines()
    assert "24 images" in lines[0] and "quantized alone" in lines[0]
    worst = costs.layers[0]
    assert lines[4].split()[:3] == ["1", worst.name, worst.kind]
    assert lines[4].endswith(f"{worst.snr:.1f}") and "4 bits" in lines[4]
    assert "everything quantized" in lines[-1] and max(map(len, lines[2:])) <= 100
    assert len(costs.table(2).splitlines()) == len(lines) - len(costs.layers) + 3
    plain = costs.to_dict()
    assert plain["layers"][0]["snr"] == worst.snr == pytest.approx(-10 * math.log10(worst.error))
    assert plain["whole_snr"] == costs.whole_snr
    assert repr(costs).startswith("<Sensitivity of 'net'")


def test_a_layer_without_effect_is_exact():
    model = network()
    model.get_layer("c").kernel.assign(np.zeros((3, 3, 6, 6)))
    model.get_layer("c").bias.assign(np.zeros(6))
    costs = costs_of(quantized(model), part="weights")
    assert costs.layers[-1].error == 0 and math.isinf(costs.layers[-1].snr)
    assert "exact" in str(costs) and costs.to_dict()["layers"][-1]["snr"] is None


def test_recipes_for_the_worst_layers():
    model = network()
    qmodel = quantized(model, "w2a8")
    costs = costs_of(qmodel)
    recipe = costs.recipe("w2a8", count=1)
    (worst,) = set(recipe.overrides) - set(mq.Recipe.named("w2a8").overrides)
    assert worst == next(row.name for row in costs.layers if row.weights.startswith("2 bits"))
    better = mq.calibrate(mq.quantize(model, recipe), images(), verbose=0)
    assert costs_of(better).whole_error < costs.whole_error
    kept = costs.leave_float(2)
    assert len(kept) == 2 and "image_quantized" not in kept
    mq.quantize(model, "w2a8", leave_float=kept)
    with pytest.raises(ValueError, match=r"has less than 'w8a8'.*leave_float"):
        costs_of(quantized(model)).recipe("w8a8")


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    for mode in ("only", "except"):
        costs = costs_of(quantized(recipe="w4a8"), mode=mode)
        path = tmp_path / f"{mode}.png"
        figure = costs.plot(path)
        assert path.read_bytes().startswith(b"\x89PNG")
        (axis,) = figure.axes
        names = [label.get_text() for label in axis.get_yticklabels()]
        assert names == [row.name for row in costs.layers]
        bars = [bar.get_width() for bar in axis.patches]
        assert bars == sorted(bars, reverse=True) and bars[0] > 0
        top, bottom = axis.get_ylim()
        assert top > bottom  # the first bar, which stands at 0, is on top
    with pytest.raises(ValueError, match="must end in"):
        costs.plot(tmp_path / "costs.jpeg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "all"}, "Unknown mode 'all'"),
        ({"part": "biases"}, "Unknown part 'biases'"),
        ({"metric": "no_such"}, "Unknown metric 'no_such'"),
        ({"metric": 7}, "metric is"),
        ({"metric": "accuracy"}, "no labels"),
        ({"data": np.zeros((0, 8, 8, 3))}, "empty"),
        ({"data": []}, "empty"),
        ({"data": 7}, "must be an array"),
        ({"data": np.full((2, 8, 8, 3), np.nan)}, "NaN"),
        ({"data": np.zeros((2, 8, 9, 3))}, "takes"),
        ({"data": (images(4), np.zeros(3))}, "4 images and 3 labels"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        costs_of(quantized(), **options)


def test_errors_of_models():
    with pytest.raises(ValueError, match="is not quantized"):
        costs_of(network())
    with pytest.raises(ValueError, match="has no range yet"):
        costs_of(mq.quantize(network()))
    model = network()
    with pytest.raises(ValueError, match="has no quantized weights"):
        costs_of(quantized(model, "w32a8"), part="weights")
    qmodel = quantized(model)
    qmodel.get_layer("classes_logits").layer.bias.assign(np.full(4, np.nan))
    with pytest.raises(ValueError, match="float model gives NaN"):
        costs_of(qmodel)
