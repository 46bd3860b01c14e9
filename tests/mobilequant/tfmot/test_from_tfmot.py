"""Models of TFMOT's taken over: the file of ours against the file that TFMOT's users have."""

import keras
import numpy as np
import pytest
import tfmot_models as theirs

import mobilequant as mq
import tflite_tools
from mobilequant.quantize.state import quantized_layers


def files(source, tmp_path):
    """TFMOT's file, ours, and our model."""
    qmodel = mq.from_tfmot(source)
    tflite_tools.convert(qmodel, tmp_path / "ours.tflite")
    return theirs.tfmot_file(source), (tmp_path / "ours.tflite").read_bytes(), qmodel


def agreement(source, expected, ours, images):
    """Share of equal integers, largest difference in steps, and span of the integers."""
    integers, (scale, zero_point) = theirs.run(ours, images)
    real, _ = theirs.run(expected, images)
    steps = np.rint(real / scale) + zero_point
    np.testing.assert_allclose(real, (steps - zero_point) * scale, rtol=1e-5, atol=scale * 1e-3)
    apart = np.abs(integers - steps)
    return (apart == 0).mean(), apart.max(), int(integers.max()) - int(integers.min())


@pytest.mark.parametrize(
    "network",
    ["sequential", "residual", "branches", pytest.param("joined", marks=pytest.mark.slow)],
)
def test_the_file_is_that_of_tfmot(network, tmp_path):
    source = theirs.trained(getattr(theirs, network)())
    expected, ours, _ = files(source, tmp_path)
    assert theirs.grids(ours) <= theirs.grids(expected)
    equal, apart, span = agreement(source, expected, ours, theirs.random_images(source, 12, 1))
    assert (apart <= 1) and equal > 0.98 and span >= 50
    equal, apart, _ = agreement(source, expected, ours, theirs.scanned_digits(source, 12))
    assert (apart <= 1) and equal > 0.98


@pytest.mark.slow
def test_a_softmax_comes_from_the_same_logits(tmp_path):
    source = theirs.trained(theirs.residual(activation="softmax"))
    expected, ours, _ = files(source, tmp_path)
    assert theirs.grids(ours) <= theirs.grids(expected)
    _, apart, _ = agreement(source, expected, ours, theirs.random_images(source, 12, 1))
    assert apart <= 1


def test_what_tfmot_leaves_in_float_becomes_integer(tmp_path):
    """Batch normalization behind Dense: their file has a float operator, within half a step."""
    source = theirs.trained(theirs.dense())
    expected, ours, qmodel = files(source, tmp_path)
    assert theirs.grids(expected) > set()
    equal, apart, span = agreement(source, expected, ours, theirs.random_images(source, 50, 1))
    assert apart <= 1 and equal > 0.8 and span >= 50


@pytest.mark.slow  # TensorFlow's converter takes minutes
@pytest.mark.parametrize("name, alpha", [("MobileNet", 0.25), ("MobileNetV2", 0.35)])
def test_networks_of_keras_applications(name, alpha, tmp_path):
    network = getattr(theirs.tf_keras.applications, name)
    model = network(
        (64, 64, 3), alpha=alpha, weights=None, classes=10, classifier_activation="linear"
    )
    source = theirs.trained(model, steps=20)
    expected, ours, _ = files(source, tmp_path)
    assert theirs.grids(ours) <= theirs.grids(expected)
    for images in (theirs.random_images(source, 8, 1), theirs.scanned_digits(source, 8)):
        equal, apart, _ = agreement(source, expected, ours, images)
        assert apart <= 1 and equal > 0.95


@pytest.fixture(scope="module")
def source():
    return theirs.trained(theirs.residual(blocks=1), steps=10)


def test_weights_are_the_same(source):
    def ordered(variables):
        arrays = [np.asarray(variable) for variable in variables]
        return sorted(
            (array for array in arrays if array.ndim), key=lambda a: (a.shape, a.ravel().tolist())
        )

    of_tfmot = [w for w in source.weights if not w.name.endswith(("_min:0", "_max:0"))]
    qmodel = mq.from_tfmot(source)
    of_quantizers = {id(w) for layer in quantized_layers(qmodel) for w in _quantizer_weights(layer)}
    ours = [w for w in qmodel.weights if id(w) not in of_quantizers]
    for a, b in zip(ordered(of_tfmot), ordered(ours), strict=True):
        np.testing.assert_array_equal(a, b)


def _quantizer_weights(layer):
    found = [weight for quantizer in layer.quantizers for weight in quantizer.weights]
    if hasattr(layer, "weight_quantizer"):
        found += layer.weight_quantizer.weights
    return found


def test_training_goes_on_from_there(source, tmp_path):
    qmodel = mq.from_tfmot(source)
    x = theirs.random_images(source, 32, 2)
    y = np.abs(x[:, ::6, ::6].sum((1, 2, 3)).astype(int)) % theirs.CLASSES
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    qmodel.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    before = qmodel.evaluate(x, y, verbose=0)
    ranges = [np.asarray(layer.output_quantizer.range) for layer in quantized_layers(qmodel)]
    history = qmodel.fit(x, y, batch_size=8, epochs=5, verbose=0)
    assert history.history["loss"][-1] < before
    moved = [np.asarray(layer.output_quantizer.range) for layer in quantized_layers(qmodel)]
    widths = [float(end[1] - end[0]) for end in ranges]
    changes = [np.abs(a - b).max() for a, b in zip(ranges, moved, strict=True)]
    # They follow, and do not start anew.
    assert 0 < max(c / w for c, w in zip(changes, widths, strict=True)) < 0.5
    assert tflite_tools.convert(qmodel, tmp_path / "m.tflite").agreement.equal == 1


def test_a_frozen_model_keeps_ranges_in_training(source):
    qmodel = mq.from_tfmot(source)
    mq.set_phase(qmodel, "frozen")
    before = [np.asarray(layer.output_quantizer.range) for layer in quantized_layers(qmodel)]
    qmodel(theirs.random_images(source, 4, 3), training=True)
    for layer, former in zip(quantized_layers(qmodel), before, strict=True):
        np.testing.assert_array_equal(layer.output_quantizer.range, former)


def test_it_is_saved_and_loaded(source, tmp_path):
    qmodel = mq.from_tfmot(source)
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    x = theirs.random_images(source, 4, 3)
    np.testing.assert_array_equal(qmodel(x, training=False), loaded(x, training=False))


@pytest.mark.parametrize("saved", ["m.h5", "folder"])
def test_a_path_will_do(source, saved, tmp_path):
    source.save(tmp_path / saved)
    x = theirs.random_images(source, 4, 3)
    expected = mq.from_tfmot(source)(x, training=False)
    np.testing.assert_array_equal(mq.from_tfmot(tmp_path / saved)(x, training=False), expected)


def test_ranges_that_tfmot_fixed(tmp_path):
    source = theirs.quantize_model(theirs.sequential())
    api = theirs.tfmot.quantization.keras
    with api.quantize_scope():
        source = api.fix_input_output_range(source, input_min=-2.0, input_max=2.0)
    theirs.fit(source, 2)
    qmodel = mq.from_tfmot(source)
    grid = quantized_layers(qmodel)[0].output_quantizer.grid()
    np.testing.assert_allclose(grid.scale, 4 / 255, rtol=1e-6)
