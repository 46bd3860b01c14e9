"""Models as users put them together: nested, shared, several inputs and outputs, half trained."""

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant.quantize import freeze, infer_integers


def normal(*shape, seed=0, count=8):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("float32")


def deploy(model, data, folder, recipe="w8a8"):
    """What a user does; whatever comes back agrees in every tensor, saved and loaded."""
    qmodel = mq.calibrate(mq.quantize(model, recipe), data, verbose=0)
    path = folder / "m.tflite"
    tflite_tools.convert(qmodel, path, samples=data)
    result = tflite_tools.verify(qmodel, path, data, layers=True)
    assert result.first_difference is None
    assert all(output.span > 50 for output in result.outputs), str(result)
    qmodel.save(folder / "q.keras")
    loaded = keras.models.load_model(folder / "q.keras")
    clone = keras.models.clone_model(qmodel)
    clone.set_weights(qmodel.get_weights())
    for other in (loaded, clone):
        for a, b in zip(infer_integers(qmodel, data), infer_integers(other, data), strict=True):
            np.testing.assert_array_equal(a, b)
    return qmodel


def backbone(name="backbone", shape=(16, 16, 3)):
    """A small functional feature extractor."""
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv1")(inputs)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    x = keras.layers.ReLU(name="relu1")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(x), name=name)


def test_a_nested_backbone_of_keras_applications(tmp_path):
    keras.utils.set_random_seed(0)
    base = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, include_top=False)
    base.trainable = False
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            base,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(5, kernel_initializer="normal"),
        ]
    )
    data = normal(32, 32, 3)
    qmodel = deploy(model, data, tmp_path)
    np.testing.assert_allclose(mq.quantize(model)(data), model(data), atol=1e-5)
    trained = [v.path for v in qmodel.trainable_variables]
    assert len(trained) == len(model.trainable_variables) == 2
    assert qmodel.get_layer("Conv1").kind == "CONV_2D"


def test_a_leading_functional_model_in_a_sequential_one_and_back(tmp_path):
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([backbone("inner"), keras.layers.Dense(6, activation="relu")])
    image = keras.Input((16, 16, 3), name="image")
    head = keras.Sequential([keras.layers.Dense(4, name="scores")], name="head")
    model = keras.Model(image, head(keras.Sequential([inner], name="outer")(image)))
    qmodel = deploy(model, normal(16, 16, 3), tmp_path)
    assert [op.name for op in freeze(qmodel).operators] == [
        "conv1", "conv2", "pool", inner.layers[-1].name, "scores"
    ]  # fmt: skip


def test_names_in_two_nested_models_tell_which():
    image = keras.Input((16, 16, 3))
    y = keras.layers.Add(name="sum")([backbone("left")(image), backbone("right")(image)])
    qmodel = mq.quantize(keras.Model(image, y), mq.Recipe(overrides={"left_conv1": "w4a8"}))
    names = {layer.name for layer in qmodel.layers}
    assert {"left_conv1", "right_conv1", "left_pool", "right_pool", "sum"} <= names
    assert qmodel.get_layer("left_conv1").weight_scheme.bits == 4
    assert qmodel.get_layer("right_conv1").weight_scheme.bits == 8


def test_a_nested_model_without_a_size_gets_that_of_its_place():
    anything = keras.Input((None, None, 3))
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(anything)
    x = keras.layers.Conv2D(4, 3, strides=2, name="conv")(x)
    inner = keras.Model(anything, x)
    image = keras.Input((16, 16, 3))
    qmodel = mq.quantize(keras.Model(image, inner(image)))
    mq.calibrate(qmodel, normal(16, 16, 3), verbose=0)
    assert [op.kind for op in freeze(qmodel).operators] == ["CONV_2D"]


def siamese():
    keras.utils.set_random_seed(0)
    encoder = backbone("encoder")
    first, second = keras.Input((16, 16, 3), name="first"), keras.Input((16, 16, 3), name="second")
    shared = keras.layers.Dense(8, name="embed")
    a, b = shared(encoder(first)), shared(encoder(second))
    same = keras.layers.Dense(1, name="same")(keras.layers.Multiply(name="product")([a, b]))
    return keras.Model([first, second], same, name="siamese")


def test_a_siamese_network_shares_weights_and_not_ranges(tmp_path):
    model = siamese()
    data = [normal(16, 16, 3, count=32), 3 * normal(16, 16, 3, seed=1, count=32)]
    np.testing.assert_allclose(mq.quantize(model)(data), model(data), atol=1e-5)
    qmodel = mq.quantize(model)
    assert len(qmodel.trainable_variables) == len(model.trainable_variables)
    qmodel.compile("adam", "mse", jit_compile=False)
    qmodel.fit(data, np.ones((32, 1)), verbose=0)
    for folder in (tmp_path, None):
        one, other = qmodel.get_layer("conv1"), qmodel.get_layer("conv1_1")
        assert one.layer is other.layer and one.normalization is other.normalization
        assert one.output_quantizer is not other.output_quantizer
        if folder:
            qmodel.save(folder / "trained.keras")
            qmodel = keras.models.load_model(folder / "trained.keras")
    qmodel.fit(data, np.ones((32, 1)), verbose=0)
    path = tmp_path / "trained.tflite"
    tflite_tools.convert(qmodel, path)
    batches = [{"first": data[0], "second": data[1]}]
    assert tflite_tools.verify(qmodel, path, batches, layers=True).first_difference is None


@pytest.mark.parametrize("recipe", ["w4a8", "w4a4"])
def test_a_siamese_network_in_few_bits(recipe):
    data = [normal(16, 16, 3), normal(16, 16, 3, seed=1)]
    qmodel = mq.calibrate(mq.quantize(siamese(), recipe), [data], verbose=0)
    clone = keras.models.clone_model(qmodel)
    clone.set_weights(qmodel.get_weights())
    np.testing.assert_array_equal(clone(data), qmodel(data))


def test_a_layer_that_is_called_on_what_it_gave(tmp_path):
    keras.utils.set_random_seed(0)
    x = image = keras.Input((8, 8, 4), name="image")
    block = keras.layers.Conv2D(4, 3, padding="same", name="block")
    norm, relu = keras.layers.BatchNormalization(), keras.layers.ReLU()
    for _ in range(3):
        x = relu(norm(block(x)))
    qmodel = deploy(keras.Model(image, block(x)), normal(8, 8, 4), tmp_path)
    # The last call has no normalization behind it: all leave theirs outside.
    names = [op.name for op in freeze(qmodel).operators]
    assert [name for name in names if "block" in name] == ["block", "block_1", "block_2", "block_3"]
    assert len(qmodel.trainable_variables) == 4


def test_shared_layers_of_other_shapes(tmp_path):
    keras.utils.set_random_seed(0)
    head = keras.layers.Conv2D(6, 3, padding="same", activation="relu6", name="head")
    large = keras.Input((8, 8, 4), name="large")
    small = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="down")(large)
    model = keras.Model(large, {"p3": head(large), "p4": head(small)})
    qmodel = deploy(model, normal(8, 8, 4), tmp_path)
    assert set(qmodel.output) == {"p3", "p4"}


def test_a_regression_with_two_inputs(tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3), name="image")
    speed = keras.Input((4,), name="speed")
    x = keras.layers.Concatenate(name="both")(
        [backbone()(image), keras.layers.Dense(8, activation="relu")(speed)]
    )
    angle = keras.layers.Dense(1, name="angle")(keras.layers.Dense(16, activation="relu")(x))
    model = keras.Model({"image": image, "speed": speed}, angle)
    data = {"image": normal(16, 16, 3, count=64), "speed": normal(4, seed=1, count=64)}
    qmodel = mq.quantize(model)
    qmodel.compile("adam", "mse", jit_compile=False)
    qmodel.fit(data, data["speed"][:, :1], verbose=0)
    few = {name: values[:8] for name, values in data.items()}
    tflite_tools.convert(qmodel, tmp_path / "m.tflite", samples=few)
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", data, layers=True)
    assert result.first_difference is None and result.span > 50
    assert set(qmodel.input) == {"image", "speed"}


def test_outputs_keep_their_structure(tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="features")(image)
    y = keras.layers.Conv2D(2, 1, name="mask")(x)
    outputs = {"mask": y, "pair": (x, [y]), "image": image}
    model = keras.Model(image, outputs)
    data = normal(8, 8, 3)
    qmodel = mq.calibrate(mq.quantize(model), data, verbose=0)
    keras.tree.assert_same_structure(qmodel(data), model(data))
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, atol=0.05), qmodel(data), model(data)
    )
    flat = keras.Model(image, [y, x])
    deploy(flat, data, tmp_path)


def test_shared_weights_that_cannot_be_shared_are_refused_by_name():
    image = keras.Input((8, 8, 4), name="image")
    slopes = keras.layers.PReLU(name="slopes")
    with pytest.raises(ValueError, match=r"'slopes' \(PReLU\): is called more than once"):
        mq.quantize(keras.Model(image, slopes(slopes(image))))


def test_a_fixed_batch(tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input(batch_shape=(4, 8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    data = normal(8, 8, 3, count=4)
    qmodel = mq.calibrate(mq.quantize(keras.Model(image, x)), data, verbose=0)
    tflite_tools.convert(qmodel, tmp_path / "m.tflite", samples=data)
    assert tflite_tools.verify(qmodel, tmp_path / "m.tflite", data).max_steps == 0


def test_a_trained_model_goes_on_where_it_was():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 16, 3)), backbone(), keras.layers.Dense(3)])
    model.compile("adam", "mse", jit_compile=False)
    data = normal(16, 16, 3, count=32)
    model.fit(data, np.ones((32, 3)), epochs=2, verbose=0)
    np.testing.assert_allclose(mq.quantize(model)(data), model(data), atol=1e-5)


def test_frozen_parts_stay_frozen_at_any_depth():
    inner = backbone("inner")
    inner.get_layer("conv1").trainable = False
    image = keras.Input((16, 16, 3))
    outer = keras.Model(image, keras.layers.Dense(4, name="embed")(inner(image)), name="outer")
    model = keras.Sequential([outer, keras.layers.Dense(2, name="last")])
    qmodel = mq.quantize(model)
    assert len(qmodel.trainable_variables) == len(model.trainable_variables) == 8
    assert not qmodel.get_layer("conv1").layer.trainable
    assert qmodel.get_layer("conv2").layer.trainable


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_becomes_float32(policy, tmp_path):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential(
            [backbone(), keras.layers.Dense(16), keras.layers.Activation("gelu")]
        )
        data = normal(16, 16, 3)
        qmodel = mq.quantize(model)
        np.testing.assert_allclose(qmodel(data), model(data), atol=0.05)
        mq.calibrate(qmodel, data, verbose=0)
        qmodel.save(tmp_path / "q.keras")
        loaded = keras.models.load_model(tmp_path / "q.keras")
        np.testing.assert_array_equal(loaded(data), qmodel(data))
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy("float32")
    tflite_tools.convert(qmodel, tmp_path / "m.tflite", samples=data)


def test_half_precision_is_refused_by_name():
    image = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.layers.Conv2D(4, 3, dtype="bfloat16", name="half")])
    with pytest.raises(ValueError, match=r"Layer 'half'.*bfloat16.*float32"):
        mq.quantize(keras.Model(image, inner(image)))


# What TFLite cannot compute in integers.


def with_float_parts():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(image)
    x = keras.layers.UnitNormalization(name="unit")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", name="again")(x)
    x = keras.layers.Flatten()(keras.ops.sin(x))
    return keras.Model(image, keras.layers.Dense(3, name="scores")(x), name="parts")


def test_all_that_stands_in_the_way_is_said_at_once():
    with pytest.raises(ValueError, match="stand in the way") as error:
        mq.quantize(with_float_parts())
    for text in (
        "'unit' (UnitNormalization)",
        "(Sin)",
        "behind the model",
        "leave_float=['unit', 'sin",
    ):
        assert text in str(error.value)
    with pytest.raises(ValueError, match=r"no layer 'nit'; it has 'conv', 'unit'"):
        mq.quantize(with_float_parts(), leave_float="nit")


def test_layers_left_in_float(tmp_path):
    model = with_float_parts()
    data = normal(8, 8, 3, count=32)
    qmodel = mq.quantize(model, leave_float=["unit", "sin*"])
    np.testing.assert_allclose(qmodel(data), model(data), rtol=1e-5, atol=1e-5)
    mq.calibrate(qmodel, data, verbose=0)
    correlation = np.corrcoef(np.ravel(qmodel(data)), np.ravel(model(data)))[0, 1]
    assert correlation > 0.99
    qmodel.compile("adam", "mse", jit_compile=False)
    qmodel.fit(data, np.ones((32, 3)), verbose=0)
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    np.testing.assert_array_equal(loaded(data), qmodel(data))
    with pytest.raises(ValueError, match=r"left in float.*'unit'") as error:
        tflite_tools.convert(qmodel, tmp_path / "m.tflite")
    assert "leave_float" in str(error.value) and not (tmp_path / "m.tflite").exists()


def test_any_layer_can_be_left_in_float():
    model = siamese()
    data = [normal(16, 16, 3), normal(16, 16, 3, seed=1)]
    qmodel = mq.quantize(model, leave_float=["conv*", "same"])
    np.testing.assert_allclose(qmodel(data), model(data), atol=1e-5)
    assert len(qmodel.trainable_variables) == len(model.trainable_variables)
    assert type(qmodel.get_layer("same")) is keras.layers.Dense


def test_between_layers_left_in_float_flows_float():
    model = with_float_parts()
    qmodel = mq.quantize(model, leave_float=["unit", "again", "sin*"])
    assert not [layer for layer in qmodel.layers if layer.name.startswith("unit_quantized")]
    data = normal(8, 8, 3)
    np.testing.assert_allclose(qmodel(data), model(data), rtol=1e-5, atol=1e-5)


# Bad input.


def test_a_nested_subclassed_model_is_named():
    class Mine(keras.Model):
        def call(self, x):
            return x

    image = keras.Input((8, 8, 3))
    with pytest.raises(TypeError, match=r"'mine'.*subclassed"):
        mq.quantize(keras.Model(image, Mine(name="mine")(image)))


def test_an_input_that_nothing_needs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    with pytest.raises(ValueError, match="no output depends on the input 'b'"):
        mq.quantize(keras.Model([a, b], keras.layers.Dense(2)(a)))
