"""`reconstruct`: rounding that is learned gives nearly what the float weights gave."""

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant.quantize import reconstruction
from mobilequant.quantize.state import quantized_layers

layers = keras.layers


def bottleneck(classes=6):
    """A stem, an inverted bottleneck with a shortcut, two more convolutions, a classifier."""
    keras.utils.set_random_seed(3)

    def convolution(x, name, filters=None, **options):
        kind = layers.Conv2D if filters else layers.DepthwiseConv2D
        arguments = (filters, 1) if filters else (3,)
        x = kind(*arguments, use_bias=False, padding="same", name=name, **options)(x)
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    image = keras.Input((12, 12, 3), name="image")
    x = layers.ReLU(6.0)(convolution(image, "stem", 24))
    y = layers.ReLU(6.0)(convolution(x, "expand", 48))
    y = layers.ReLU(6.0)(convolution(y, "depthwise"))
    x = layers.Add(name="add")([x, convolution(y, "project", 24)])
    for name in ("more", "last"):
        x = layers.ReLU(6.0)(convolution(x, name, 32))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, name="scores")(x))


def images(count=96, seed=0):
    """Smooth ones: neighbouring pixels of photographs are alike."""
    noise = np.random.default_rng(seed).normal(size=(count, 4, 4, 3)).astype("float32")
    return np.asarray(keras.ops.image.resize(noise, (12, 12), interpolation="bicubic"))


def scheme(bits=3, **options):
    return mq.Recipe(weights=mq.Scheme(bits=bits, **{"range": "minmax", **options}))


def wide_open():
    return mq.Recipe(weights=mq.Scheme(bits=4), overrides={})


def error(qmodel, model, x):
    """Of the scores, as a share of their variance."""
    found, expected = (np.asarray(m(x, training=False)) for m in (qmodel, model))
    return np.square(found - expected).mean() / expected.var()


def pair():
    """Two convolutions."""
    keras.utils.set_random_seed(4)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(16, 1, activation="relu", name="stem")(image)
    return keras.Model(image, layers.Conv2D(8, 3, name="project")(x))


@pytest.fixture(scope="module")
def model():
    model = bottleneck()
    # Statistics as training leaves them.
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            before = keras.Model(model.input, layer.input)
            y = np.asarray(before(images(), training=False))
            layer.moving_mean.assign(y.mean((0, 1, 2)))
            layer.moving_variance.assign(y.var((0, 1, 2)) + 1e-3)
    return model


def test_new_images_are_closer_to_float_than_with_the_nearest_integers(model, tmp_path):
    nearest = mq.calibrate(mq.quantize(model, scheme()), images(), verbose=0)
    qmodel = mq.quantize(model, scheme())
    before = [v.numpy().copy() for v in model.weights]
    assert mq.reconstruct(qmodel, images(), steps=200, verbose=0) is qmodel
    mq.calibrate(qmodel, images(), verbose=0)
    assert error(qmodel, model, images(64, 1)) < 0.5 * error(nearest, model, images(64, 1))
    # The float model stays, and so does what is not rounded, but for the means.
    for variable, former in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), former)
    for layer in qmodel.layers:
        normalization = getattr(layer, "normalization", None)
        if normalization is not None:
            own = model.get_layer(normalization.name)
            for name in ("gamma", "beta", "moving_variance"):
                np.testing.assert_array_equal(getattr(normalization, name), getattr(own, name))
    # It is as any other: saved, loaded, converted, equal integer for integer.
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    np.testing.assert_array_equal(loaded(images(4), training=False), qmodel(images(4)))
    tflite_tools.convert(loaded, tmp_path / "q.tflite", samples=images(8, 1))
    assert tflite_tools.verify(qmodel, tmp_path / "q.tflite", images(16, 2)).equal == 1.0


def positive(bias, padding):
    """What a convolution takes behind a ReLU, and what two of them make of it."""
    image = keras.Input((8, 8, 6), name="image")
    x = image
    for i, kind in enumerate((layers.Conv2D, layers.DepthwiseConv2D)):
        arguments = (8, 3) if kind is layers.Conv2D else (3,)
        x = kind(*arguments, padding=padding, use_bias=bias, name=f"c{i}")(x)
        x = x if bias else layers.BatchNormalization(name=f"bn{i}")(x)
    model = heavy_tails(keras.Model(image, layers.Conv2D(5, 1, name="last")(x)))
    return model, np.abs(np.random.default_rng(0).normal(size=(64, 8, 8, 6))).astype("float32")


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("bias", [True, False])
def test_rounding_leaves_the_means_where_they_were(bias, padding):
    model, x = positive(bias, padding)
    recipe = mq.Recipe(weights=mq.Scheme(bits=2, range="minmax"), overrides={})

    def distance(qmodel):
        """Of the means of scores, in their standard deviations, with weights that are rounded."""
        mq.calibrate(qmodel, x, verbose=0)
        found, expected = (np.asarray(m(x, training=False)) for m in (qmodel, model))
        return np.abs((found - expected).mean((0, 1, 2)) / expected.std((0, 1, 2)))

    # A step learns nothing: what is left is the correction.
    qmodel = mq.reconstruct(mq.quantize(model, recipe), x, steps=1, verbose=0)
    assert distance(mq.quantize(model, recipe)).max() > 0.3
    # 8 bits of the activations, and their ends, are left.
    assert distance(qmodel).max() < 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 4, "estimator": "ste"},
        {"bits": 4, "range": "std"},
        {"bits": 4, "estimator": "lsq"},
        {"bits": 2, "estimator": "ste"},
        {"bits": "ternary"},
        {"bits": 1},
        {"bits": 4, "granularity": "tensor"},
        {"bits": 4, "sparsity": "2:4"},
        {"bits": 3, "sparsity": 0.5},
    ],
    ids=str,
)
def test_every_weight_takes_an_integer_beside_it(options):
    qmodel = mq.quantize(pair(), scheme(**options))
    layer = qmodel.get_layer("project")
    kernel = np.asarray(layer.flat_kernel())
    mask = layer.weight_quantizer.mask(kernel)
    mq.reconstruct(qmodel, images(16), steps=2, verbose=0)
    rounded = np.asarray(layer.flat_kernel())
    quantizer = layer.weight_quantizer
    if quantizer.scheme.range == "learned":
        step = np.asarray(quantizer.learned_step(rounded))
    else:
        axes = None if options.get("granularity") == "tensor" else (0, 1, 2)
        step = np.abs(rounded).max(axes) / quantizer.largest
    # The weights lie on the grid that their quantizer finds, at the integers that it finds.
    integers = np.asarray(quantizer.integers(rounded)[0])
    np.testing.assert_allclose(rounded, integers * step, rtol=1e-5, atol=1e-8)
    inside = np.clip(kernel, -quantizer.largest * step, quantizer.largest * step)
    if mask is not None:
        assert np.all(rounded[np.asarray(mask) == 0] == 0)
        inside = inside * np.asarray(mask)
    gap = 2 if options["bits"] in (1, 2) else 1
    assert np.all(np.abs(inside - rounded) <= gap * step * (1 + 1e-4))


def test_layers_of_8_bits_stay_and_a_shared_kernel_is_learned_once(tmp_path):
    image = keras.Input((8, 8, 4), name="image")
    shared = layers.Conv2D(4, 1, name="shared")
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    x = layers.Add()([shared(x), shared(layers.ReLU()(x))])
    model = keras.Model(image, layers.Dense(3, name="last")(layers.GlobalMaxPooling2D()(x)))
    qmodel = mq.quantize(model, "w4a8")
    data = np.random.default_rng(0).normal(size=(32, 8, 8, 4)).astype("float32")
    mq.reconstruct(qmodel, data, steps=5, verbose=0)
    assert {layer.weight_scheme.range for layer in qmodel.layers if "shared" in layer.name} == {
        "minmax"
    }
    for name in ("first", "last"):
        np.testing.assert_array_equal(
            qmodel.get_layer(name).layer.kernel, model.get_layer(name).kernel
        )
    assert np.any(qmodel.get_layer("shared").layer.kernel != model.get_layer("shared").kernel)
    # Its two calls take different things: no bias suits both.
    np.testing.assert_array_equal(
        qmodel.get_layer("shared").layer.bias, model.get_layer("shared").bias
    )
    mq.calibrate(qmodel, data, verbose=0)
    qmodel.save(tmp_path / "q.keras")
    tflite_tools.convert(
        keras.models.load_model(tmp_path / "q.keras"), tmp_path / "q.tflite", samples=data[:4]
    )


def heavy_tails(model, seed=0):
    """Weights with outliers, channels of different size."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            kernel = random.standard_t(3, layer.kernel.shape)
            layer.kernel.assign(0.3 * kernel * random.uniform(0.1, 1, layer.kernel.shape[-1]))
    return model


def test_what_keras_has_compiled_computes_with_the_new_weights():
    qmodel = mq.quantize(heavy_tails(pair()), scheme(bits=4, range="std"))
    mq.calibrate(qmodel, images(16), verbose=0)
    qmodel.predict(images(4), verbose=0)
    mq.reconstruct(qmodel, images(16), steps=2, verbose=0)
    mq.calibrate(qmodel, images(16), verbose=0)
    np.testing.assert_array_equal(
        qmodel.predict(images(4), verbose=0), qmodel(images(4), training=False)
    )


@pytest.mark.parametrize("bits", [2, 4])
def test_one_scale_for_a_tensor_is_the_one_that_errs_least(bits):
    image = keras.Input((24,), name="image")
    model = heavy_tails(keras.Model(image, layers.Dense(16, name="all")(image)))
    x = np.random.default_rng(1).normal(size=(256, 24)).astype("float32")
    recipe = mq.Recipe(
        weights=mq.Scheme(bits=bits, granularity="tensor", range="std"), overrides={}
    )
    nearest = mq.calibrate(mq.quantize(model, recipe), x, verbose=0)
    qmodel = mq.reconstruct(mq.quantize(model, recipe), x, steps=150, verbose=0)
    mq.calibrate(qmodel, x, verbose=0)
    assert error(qmodel, model, x) < error(nearest, model, x)


def shared_twice(between):
    """A convolution that is called again, with so many others between."""
    image = keras.Input((8, 8, 6), name="image")
    shared = layers.Conv2D(6, 1, use_bias=False, name="shared")
    x = layers.ReLU()(shared(image))
    for i in range(between):
        x = layers.ReLU()(layers.Conv2D(6, 1, name=f"between_{i}")(x))
    return heavy_tails(keras.Model(image, shared(x)), seed=5)


@pytest.mark.parametrize("between", [0, 4])
def test_a_kernel_that_is_called_twice(between, monkeypatch):
    model = shared_twice(between)
    x = np.random.default_rng(2).normal(size=(64, 8, 8, 6)).astype("float32")
    recipe = mq.Recipe(weights=mq.Scheme(bits=3, range="minmax"), overrides={})
    targets, advance = [], reconstruction._Streams.advance
    monkeypatch.setattr(
        reconstruction._Streams,
        "advance",
        lambda self, block, last, rest: targets.append(last) or advance(self, block, last, rest),
    )
    qmodel = mq.reconstruct(mq.quantize(model, recipe), x, steps=100, verbose=0)
    # What the last block shall give is what the float model gives, whatever is rounded already.
    np.testing.assert_allclose(targets[-1][0], model(x, training=False), rtol=1e-3, atol=1e-4)
    nearest = mq.calibrate(mq.quantize(model, recipe), x, verbose=0)
    mq.calibrate(qmodel, x, verbose=0)
    assert error(qmodel, model, x) < 0.8 * error(nearest, model, x)


def test_ranges_and_what_is_left_in_float_stay():
    image = keras.Input((6, 6, 4), name="image")
    x = layers.Conv2D(8, 1, name="conv")(image)
    x = layers.LayerNormalization(name="rows")(x)
    x = layers.BatchNormalization(name="odd")(layers.Activation("exponential", name="odd_too")(x))
    model = keras.Model(image, layers.Conv2D(4, 1, name="last")(x))
    qmodel = mq.quantize(model, scheme(bits=4), leave_float=["odd", "odd_too"])
    data = np.random.default_rng(0).normal(size=(32, 6, 6, 4)).astype("float32")
    mq.calibrate(qmodel, data, verbose=0)
    learned = [w for layer in qmodel.layers if hasattr(layer, "layer") for w in layer.layer.weights]
    others = [w for w in qmodel.weights if not any(w is one for one in learned)]
    before = [w.numpy().copy() for w in others]
    assert len(others) > 10
    mq.reconstruct(qmodel, data, steps=3, verbose=0)
    for variable, former in zip(others, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), former, variable.path)


def test_one_number_an_image():
    image = keras.Input((12,), name="image")
    x = layers.Dense(24, activation="relu", name="wide")(image)
    x = layers.Reshape(())(layers.Dense(1, name="one")(x))
    model = heavy_tails(keras.Model(image, x))
    x = np.random.default_rng(1).normal(size=(256, 12)).astype("float32")
    recipe = mq.Recipe(weights=mq.Scheme(bits=2, range="minmax"), overrides={})
    nearest = mq.calibrate(mq.quantize(model, recipe), x, verbose=0)
    qmodel = mq.reconstruct(mq.quantize(model, recipe), x, steps=150, verbose=0)
    mq.calibrate(qmodel, x, verbose=0)
    assert error(qmodel, model, x) < 0.5 * error(nearest, model, x)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_more_zeros_than_sparsity_asks_for(bits):
    model = heavy_tails(pair())
    kernel = model.get_layer("project").kernel
    zeros = np.random.default_rng(3).uniform(size=kernel.shape) < 0.6
    kernel.assign(np.where(zeros, 0.0, kernel.numpy()))
    qmodel = mq.quantize(model, scheme(bits=bits, sparsity=0.5))
    mq.reconstruct(qmodel, images(16), steps=2, verbose=0)
    layer = qmodel.get_layer("project")
    rounded = np.asarray(layer.flat_kernel())
    integers = np.asarray(layer.weight_quantizer.integers(rounded)[0])
    step = np.abs(rounded).max((0, 1, 2)) / layer.weight_quantizer.largest
    np.testing.assert_allclose(rounded, integers * step, rtol=1e-5)
    assert np.mean(integers == 0) >= 0.5


def test_inputs_by_name_in_any_order():
    a, b = keras.Input((4, 4, 3), name="a"), keras.Input((4, 4, 3), name="b")
    x = layers.Concatenate()([layers.Conv2D(4, 1, name="of_b")(b), layers.Conv2D(4, 1)(a)])
    model = keras.Model([b, a], layers.Conv2D(2, 1, name="last")(x))
    random = np.random.default_rng(0)
    # Only one of them has anything to learn from.
    data = {"a": np.zeros((16, 4, 4, 3), "float32")}
    data["b"] = random.normal(size=(16, 4, 4, 3)).astype("float32")
    kernels = []
    for given in (data, [data["b"], data["a"]]):
        qmodel = mq.quantize(model, mq.Recipe(weights=mq.Scheme(bits=2), overrides={}))
        mq.reconstruct(qmodel, [given], steps=30, learning_rate=0.1, verbose=0)
        kernels.append(qmodel.get_layer("of_b").layer.kernel.numpy())
    np.testing.assert_array_equal(*kernels)


def test_the_same_seed_gives_the_same_weights():
    weights = []
    for seed in (1, 1, 2):
        qmodel = mq.quantize(pair(), scheme())
        mq.reconstruct(qmodel, images(32), steps=20, seed=seed, verbose=0)
        weights.append(np.concatenate([w.ravel() for w in qmodel.get_weights()]))
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.any(weights[0] != weights[2])


def test_what_is_broken_off_leaves_the_model_as_it_was(model, monkeypatch):
    qmodel = mq.quantize(model, "w4a8")
    mq.calibrate(qmodel, images(), verbose=0)
    before, calls = qmodel.get_weights(), []
    learn = reconstruction._learn

    def broken_off(*arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(learn(*arguments))

    monkeypatch.setattr(reconstruction, "_learn", broken_off)
    with pytest.raises(KeyboardInterrupt):
        mq.reconstruct(qmodel, images(16), steps=2, verbose=0)
    for one, other in zip(qmodel.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    ranges = {
        layer.weight_scheme.range
        for layer in quantized_layers(qmodel)
        if layer.weights and hasattr(layer, "weight_scheme") and layer.weight_scheme.bits == 4
    }
    assert ranges == {"std"}


def test_what_it_refuses(model):
    def fails(qmodel, data, match, **options):
        with pytest.raises(ValueError, match=match):
            mq.reconstruct(qmodel, data, verbose=0, **options)

    fails(model, images(), "is not quantized")
    fails(mq.quantize(model, "w8a8"), images(), "no weights of less than 8 bits")
    blocks = mq.Scheme(bits=4, granularity="block")
    fails(
        mq.quantize(model, mq.Recipe(weights=blocks)), images(), "'stem' has weights of 4 bits.*fit"
    )
    qmodel = mq.quantize(model, scheme())
    fails(qmodel, images()[:0], "empty")
    fails(qmodel, images()[:, :8], "Batch 0 .* takes")
    fails(qmodel, np.full((4, 12, 12, 3), np.nan, "float32"), "NaN")
    fails(qmodel, images(), "steps is how many", steps=0)
    any_size = keras.Input((None, None, 3), name="any")
    free = mq.quantize(keras.Model(any_size, layers.Conv2D(4, 1)(any_size)), wide_open())
    fails(free, images(), r"Input 'any' has an unknown size .*fixed input_shape")
    fails(qmodel, images(), "learning_rate must be", learning_rate=-1.0)
    for one, other in zip(
        qmodel.get_layer("stem").layer.weights, model.get_layer("stem").weights, strict=True
    ):
        np.testing.assert_array_equal(one, other)
