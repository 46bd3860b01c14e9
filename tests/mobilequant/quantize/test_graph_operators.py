"""Operators in the graph, `x + y`, `x * 0.5`, `keras.ops.*`: integers without being layers."""

import collections

import keras
import numpy as np
import pytest
from keras import ops

import mobilequant as mq
import tflite_tools
from mobilequant.quantize import freeze


def normal(*shape, seed=0, count=8):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("float32")


def check(functions, folder, shape=(8, 8, 4), inputs=1):
    """Quantizes what functions make of features; kinds of operators behind these, counted."""
    keras.utils.set_random_seed(0)
    images = [keras.Input(shape, name=f"input{i}") for i in range(inputs)]
    convolution = keras.layers.Conv2D if len(shape) == 3 else keras.layers.Conv1D
    features = [convolution(4, 1, name=f"conv{i}")(image) for i, image in enumerate(images)]
    model = keras.Model(
        images if inputs > 1 else images[0], [function(*features) for function in functions]
    )
    data = [normal(*shape, seed=i) for i in range(inputs)]
    batch = data if inputs > 1 else data[0]
    qmodel = mq.quantize(model)
    expected = [np.asarray(y) for y in keras.tree.flatten(model(batch))]
    for ours, theirs in zip(keras.tree.flatten(qmodel(batch)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    mq.calibrate(qmodel, [batch], verbose=0)
    for ours, theirs in zip(keras.tree.flatten(qmodel(batch)), expected, strict=True):
        assert np.corrcoef(np.ravel(ours), theirs.ravel())[0, 1] > 0.995
    path = folder / "m.tflite"
    tflite_tools.convert(qmodel, path)
    batches = [{f"input{i}": x for i, x in enumerate(data)}] if inputs > 1 else data[0]
    result = tflite_tools.verify(qmodel, path, batches, layers=True)
    assert result.first_difference is None
    assert all(output.span > 50 for output in result.outputs), str(result)
    qmodel.save(folder / "q.keras")
    loaded = keras.models.load_model(folder / "q.keras")
    for ours, theirs in zip(*(keras.tree.flatten(m(batch)) for m in (qmodel, loaded)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    operators = [op for op in freeze(qmodel).operators if not op.name.startswith("conv")]
    return collections.Counter(op.kind for op in operators)


CHANNELS = np.array([0.5, -1.0, 2.0, 0.1], "float32")


def test_numbers_as_operands(tmp_path):
    functions = [
        lambda x: x + 1.0,
        lambda x: x - CHANNELS,
        lambda x: 1 - x,
        lambda x: -x,
        lambda x: x * CHANNELS,
        lambda x: ops.multiply(CHANNELS.reshape(1, 1, 1, 4), x),
        lambda x: ops.relu(x + 0.5),
        lambda x: ops.relu6(1 - x * -3),
        lambda x: x**2,
        lambda x: ops.square(x) + x,
    ]
    kinds = check(functions, tmp_path)
    assert kinds == {"ADD": 4, "SUB": 2, "MUL": 6}


def test_factors(tmp_path):
    """Behind a convolution they cost nothing."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 4), name="image")
    y = ops.relu(keras.layers.Conv2D(4, 3, name="conv")(image) * 0.25)
    model = keras.Model(image, keras.layers.Conv2D(4, 3)(y) / 2)
    qmodel = mq.calibrate(mq.quantize(model), normal(8, 8, 4), verbose=0)
    operators = [(op.kind, op.activation) for op in freeze(qmodel).operators]
    assert operators == [("CONV_2D", "RELU"), ("CONV_2D", "NONE")]
    np.testing.assert_allclose(
        qmodel(normal(8, 8, 4)), model(normal(8, 8, 4)), atol=4 * freeze(qmodel).outputs[0].scale
    )
    check([lambda x: x * 0.5, lambda x: x / 3], tmp_path)


def test_two_tensors(tmp_path):
    functions = [
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x * y,
        lambda x, y: ops.relu(ops.add(x, y)),
        lambda x, y: ops.maximum(x, y),
        lambda x, y: ops.minimum(x, y),
        lambda x, y: ops.concatenate([x, y], axis=-1),
        lambda x, y: x * ops.mean(ops.sigmoid(y), axis=(1, 2), keepdims=True),
    ]
    kinds = check(functions, tmp_path, inputs=2)
    assert {k: kinds[k] for k in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "CONCATENATION")} == {
        "ADD": 2, "SUB": 1, "MUL": 2, "MAXIMUM": 1, "MINIMUM": 1, "CONCATENATION": 1
    }  # fmt: skip


def test_activations(tmp_path):
    names = ["relu", "relu6", "sigmoid", "tanh", "silu", "hard_silu", "hard_sigmoid", "softmax"]
    functions = [lambda x, name=name: getattr(ops, name)(x) for name in names]
    functions += [
        lambda x: ops.gelu(x, approximate=False),
        lambda x: ops.gelu(x),
        lambda x: ops.softplus(x),
        lambda x: ops.leaky_relu(x, 0.1),
        lambda x: ops.elu(x),
        lambda x: ops.maximum(0.0, x),
        lambda x: ops.clip(x, 0, 6),
    ]
    check(functions, tmp_path)


def test_moving_values(tmp_path):
    functions = [
        lambda x: ops.reshape(x, (-1, 64, 4)),
        lambda x: ops.reshape(x, (-1, 8 * 8 * 4)),
        lambda x: ops.transpose(x, (0, 3, 1, 2)),
        lambda x: ops.swapaxes(x, 1, 2),
        lambda x: ops.moveaxis(x, -1, 1),
        lambda x: ops.expand_dims(x, 1),
        lambda x: ops.mean(x, axis=(1, 2)),
        lambda x: ops.max(x, axis=[1, 2], keepdims=True),
        lambda x: ops.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0))),
        lambda x: x[:, 1:-1, 2:],
        lambda x: x[:, 0],
        lambda x: ops.image.resize(x, (16, 16)),
    ]
    kinds = check(functions, tmp_path)
    assert (kinds["TRANSPOSE"], kinds["SLICE"], kinds["PAD"]) == (3, 2, 1)


def test_parts(tmp_path):
    functions = [
        lambda x: x[..., :2],
        lambda x: x[:, 1:-1, ::2, 1:],
        lambda x: x[..., 1],
        lambda x: x[:, 2, None, :, -1],
        lambda x: ops.concatenate(ops.split(x, 2, axis=-1)[::-1], axis=1),
        lambda x: ops.add(*ops.split(x, [3, 5], axis=2)[::2]),
        lambda x: ops.stack([x, ops.relu(x)], axis=1),
        lambda x: ops.stack([x, -x], axis=-1),
        lambda x: ops.stack([x[:, 0], ops.tanh(x[:, 1])], axis=-2),
    ]
    kinds = check(functions[:4], tmp_path)
    assert (kinds["SLICE"], kinds["STRIDED_SLICE"], kinds["RESHAPE"]) == (3, 1, 2)
    # Parts that nothing takes are not in the file.
    kinds = check([lambda x: ops.relu(ops.split(x, [3, 5], axis=2)[1])], tmp_path)
    assert kinds["SLICE"] == 1
    check(functions[4:], tmp_path)


def test_reductions(tmp_path):
    functions = [
        lambda x: ops.mean(x, axis=-1),
        lambda x: ops.mean(x, axis=(1, 2, 3), keepdims=True),
        lambda x: ops.sum(x, axis=(1, 2)),
        lambda x: ops.sum(x, axis=-1, keepdims=True),
        lambda x: ops.max(x, axis=-1),
        lambda x: ops.amin(x, axis=2, keepdims=True),
        lambda x: ops.max(x, axis=(1, 3)),
    ]
    kinds = check(functions, tmp_path)
    assert kinds == {"MEAN": 4, "MUL": 2, "REDUCE_MAX": 2, "REDUCE_MIN": 1}


def test_bounds(tmp_path):
    functions = [
        lambda x: ops.maximum(x, -0.4),
        lambda x: ops.minimum(0.3, x),
        lambda x: ops.clip(x, -0.5, 0.7),
        lambda x: ops.clip(x, 0.2, 1.0),
    ]
    kinds = check(functions, tmp_path)
    # A bound at the end of the range needs no operator.
    assert kinds["QUANTIZE"] == 4 and kinds["MAXIMUM"] >= 1 and kinds["MINIMUM"] == 0


def test_functions(tmp_path):
    functions = [
        ops.abs,
        ops.exp,
        lambda x: ops.log(ops.relu(x) + 0.5),
        lambda x: ops.sqrt(ops.relu(x)),
        lambda x: x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 0.1),
    ]
    kinds = check(functions, tmp_path)
    assert {"ABS", "EXP", "LOG", "SQRT", "RSQRT"} < set(kinds)


@pytest.mark.parametrize("function", [ops.sqrt, ops.rsqrt])
def test_roots_of_what_can_be_negative_are_refused_by_name(function):
    image = keras.Input((8, 8, 4), name="image")
    qmodel = mq.quantize(keras.Model(image, function(image)))
    mq.calibrate(qmodel, np.abs(normal(8, 8, 4)), verbose=0)
    qmodel.layers[1].output_quantizer.range.assign([-1.0, 2.0])
    with pytest.raises(ValueError, match="Layer '.*sqrt.*negative.*relu"):
        freeze(qmodel)


def test_attention_by_hand(tmp_path):
    def attention(x):
        q, k, v = (keras.layers.Conv1D(8, 1, name=name)(x) for name in ("q", "k", "v"))
        scores = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / 8**0.5)
        return ops.matmul(scores, v) + v

    check([attention], tmp_path, (10, 4))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_inference_is_what_a_bare_call_means(interpolation):
    """Also behind a stock Resizing, whose own default is to train."""
    image = keras.Input((8, 8, 4), name="image")
    x = ops.image.resize(image, (16, 16), interpolation=interpolation)
    qmodel = mq.quantize(keras.Model(image, keras.layers.Conv2D(2, 3, name="conv")(x)))
    qmodel(normal(8, 8, 4))
    assert not qmodel.get_layer("conv").output_quantizer.calibrated
    qmodel(normal(8, 8, 4), training=True)
    assert qmodel.get_layer("conv").output_quantizer.calibrated


def test_few_bits_flow_through(tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    x = ops.relu(x * 0.5 + 1.0) + ops.exp(x)
    model = keras.Model(image, keras.layers.Dense(2)(ops.mean(x, axis=(1, 2))))
    data = normal(8, 8, 4)
    qmodel = mq.calibrate(mq.quantize(model, "w4a4"), data, verbose=0)
    qmodel.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    np.testing.assert_array_equal(loaded(data), qmodel(data))


def test_training_sees_the_constants_that_the_device_has():
    image = keras.Input((8, 8, 4))
    model = keras.Model(image, 1.5 - image * CHANNELS)
    data = normal(8, 8, 4)
    qmodel = mq.calibrate(mq.quantize(model), data, verbose=0)
    mq.set_phase(qmodel, "frozen")
    steps = np.abs(qmodel(data, training=True) - np.asarray(qmodel(data)))
    assert steps.max() < 2.01 * freeze(qmodel).outputs[0].scale


def test_a_constant_that_is_next_to_nothing_is_computed_as_on_the_device(tmp_path):
    check([lambda x: x + 1e-7], tmp_path)


def test_operations_without_an_integer_form_are_listed_together():
    x = keras.Input((8, 8, 4), name="image")
    y = ops.var(x, axis=0, keepdims=True) + x[:, ::-1] + ops.sum(x, axis=0)
    y = x / y + x**3 + ops.where(x > 0, x, y) + ops.clip(x, CHANNELS, 3.0) + ops.max(x)
    with pytest.raises(ValueError, match="stand in the way") as error:
        mq.quantize(keras.Model(x, y))
    for text in (
        "(Sum)",
        "(Var)",
        "(Max)",
        "TrueDivide",
        "in reverse",
        "squares",
        "(Where)",
        "bounds",
    ):
        assert text in str(error.value), text


def test_a_users_own_rule_for_an_operation():
    class Exact(mq.Rule):
        def build(self, group, context):
            (name,) = {call.layer.name for call in group}
            return [
                mq.layers.QuantizedFunction("TANH", activations=context.recipe.outputs, name=name)
            ]

    image = keras.Input((8, 8, 4), name="image")
    model = keras.Model(image, ops.arctan(image))
    with pytest.raises(ValueError, match="Arctan"):
        mq.quantize(model)
    mq.register_rule(type(model.operations[-1]))(Exact)
    kinds = [type(layer).__name__ for layer in mq.quantize(model).layers]
    assert kinds == ["InputLayer", "QuantizedInput", "QuantizedFunction"]
