"""Mixed files: models with layers that were left in float, against LiteRT."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import mobilequant as mq
import tflite_tools
from mobilequant import integer
from mobilequant.layers.scaling import LayerScale
from mobilequant.quantize import freeze, infer_integers, infer_tensors
from tflite_tools import ConversionError, allowed, flatbuffer
from tflite_tools.agreement import FloatAgreement
from tflite_tools.interpreter import Interpreter

SIZE = 32


@keras.saving.register_keras_serializable(package="test_mixed")
class Ramp(layers.Layer):
    """A user's own layer: y = x / (1 + |x|) · w."""

    def build(self, input_shape):
        self.w = self.add_weight(name="w", shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        return x / (1 + ops.abs(x)) * self.w


@keras.saving.register_keras_serializable(package="test_mixed")
class Erf(layers.Layer):
    """What TFLite has no operator for."""

    def call(self, x):
        return ops.erf(x)


@keras.saving.register_keras_serializable(package="test_mixed")
class Halves(layers.Layer):
    """Several outputs."""

    def call(self, x):
        return ops.split(x, 2, axis=-1)


def images(*shape, count=8, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1.5, (count, *shape)).astype("float32")


def sample(model, count=8, seed=0):
    arrays = [images(*t.shape[1:], count=count, seed=seed + i) for i, t in enumerate(model.inputs)]
    return arrays if len(arrays) > 1 else arrays[0]


def data_for(model, count=8, seed=0):
    arrays = sample(model, count, seed)
    if not isinstance(arrays, list):
        return arrays
    return {t.name: array for t, array in zip(model.inputs, arrays, strict=True)}


def quantized(model, leave_float, **options):
    qmodel = mq.quantize(model, leave_float=leave_float, **options)
    return mq.calibrate(qmodel, [sample(model, 16)], verbose=0)


def check(model, leave_float, path, **options):
    """Quantizes, converts and runs; the contract of mixed files must hold, layer by layer.

    Returns:
        The quantized model and the report.
    """
    qmodel = quantized(model, leave_float)
    with pytest.raises(ConversionError, match="write a mixed file with allow_float=True"):
        tflite_tools.convert(qmodel, path, **options)
    report = tflite_tools.convert(qmodel, path, allow_float=True, **options)
    result = tflite_tools.verify(qmodel, path, data_for(model, 8, 1), layers=True)
    assert result.breach is None and result.first_difference is None, str(result)
    # Ties are rare: so close float kernels hardly ever fall on two sides of one.
    assert all(border.equal > 0.99 and border.span > 20 for border in result.borders)
    x = sample(model)
    for mine, theirs in zip(run_keras(qmodel, x), run_keras(model, x), strict=True):
        assert np.abs(mine - theirs).max() < 0.1 * np.abs(theirs).max()
    return qmodel, report


def run_keras(model, x):
    return [np.asarray(y) for y in keras.tree.flatten(model(x, training=False))]


def run_file(path, *arrays):
    """Outputs of the file as real values."""
    file = Interpreter(path.read_bytes())
    feeds = [port.quantize(x) for port, x in zip(file.inputs, arrays, strict=True)]
    return [
        y if port.scale is None else (y.astype("float32") - port.zero_point) * port.scale
        for port, y in zip(file.outputs, file.run(*feeds), strict=True)
    ]


def types(path):
    """Types of the file's inputs and outputs."""
    found = tflite_tools.inspect(path)
    return [t.dtype for t in found.inputs], [t.dtype for t in found.outputs]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.tflite"


@pytest.fixture(autouse=True)
def same_weights():
    keras.utils.set_random_seed(0)


def image_input(channels=3, size=8):
    return keras.Input((size, size, channels), name="image")


def between(*float_layers, channels=8):
    """Convolution, the layers, convolution, dense layer."""
    image = image_input()
    x = layers.Conv2D(channels, 3, strides=2, padding="same", name="before")(image)
    for layer in float_layers:
        x = layer(x)
    if len(x.shape) == 4:
        x = layers.Conv2D(6, 3, padding="same", activation="relu", name="behind")(x)
        x = layers.Flatten(name="flat")(x)
    return keras.Model(image, layers.Dense(5, name="scores")(x), name="between")


# One kind of layer after the other, in the middle.


KINDS = {
    "LayerNormalization": layers.LayerNormalization,
    "GroupNormalization": lambda name: layers.GroupNormalization(2, name=name),
    "UnitNormalization": layers.UnitNormalization,
    "BatchNormalization": layers.BatchNormalization,
    "gelu": lambda name: layers.Activation("gelu", name=name),
    "softplus": lambda name: layers.Activation("softplus", name=name),
    "mish": lambda name: layers.Activation("mish", name=name),
    "Dense": lambda name: layers.Dense(8, activation="tanh", name=name),
    "Conv2D": lambda name: layers.Conv2D(8, 3, padding="same", activation="relu6", name=name),
    "grouped": lambda name: layers.Conv2D(8, 3, padding="same", groups=2, name=name),
    "depthwise": lambda name: layers.DepthwiseConv2D(7, padding="same", name=name),
    "transposed": lambda name: layers.Conv2DTranspose(8, 3, strides=2, name=name),
    "pooling": lambda name: layers.AveragePooling2D(2, name=name),
    "bilinear": lambda name: layers.UpSampling2D(2, interpolation="bilinear", name=name),
    "Softmax": layers.Softmax,
    "Lambda": lambda name: layers.Lambda(lambda x: ops.exp(-ops.square(x)), name=name),
    "own": Ramp,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_of_any_kind_stays_float_in_the_middle(kind, path):
    qmodel, report = check(between(KINDS[kind](name="it")), ["it"], path)
    assert types(path) == (["INT8"], ["INT8"])
    assert report.float_layers == ["it"] and report.float_operators
    assert report.operators["DEQUANTIZE"] == report.operators["QUANTIZE"] == 1


@pytest.mark.parametrize(
    "layer",
    [layers.GaussianDropout(0.5), layers.MaxPooling2D(2), layers.UpSampling2D(2)],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_only_move_integers_need_no_float(layer, path):
    layer = type(layer).from_config({**layer.get_config(), "name": "it"})
    qmodel = quantized(between(layer), ["it"])
    report = tflite_tools.convert(qmodel, path)
    assert not report.float_layers and not report.operators["DEQUANTIZE"]


def test_neighbours_are_one_block(path):
    model = between(
        layers.LayerNormalization(name="f_norm"),
        layers.Dense(16, name="f_up"),
        layers.Activation("gelu", name="f_gelu"),
        layers.Dense(8, name="f_down"),
    )
    qmodel, report = check(model, "f_*", path)
    assert report.operators["DEQUANTIZE"] == report.operators["QUANTIZE"] == 1
    (block,) = freeze(qmodel, allow_float=True).float_blocks
    assert block.layers == ["f_norm", "f_up", "f_gelu", "f_down"] == report.float_layers
    assert [part.layers for part in block.parts] == [[name] for name in block.layers]


def test_attention(path):
    image = image_input()
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="before")(image)
    x = layers.Reshape((16, 8), name="tokens")(x)
    y = layers.MultiHeadAttention(2, 4, name="attention")(query=x, value=x)
    x = layers.Add(name="residual")([x, y])
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    model = keras.Model(image, layers.Dense(5, name="scores")(x))
    _, report = check(model, "attention", path)
    assert report.float_layers == ["attention"] and report.operators["ADD"] == 1


def convnext(blocks=2):
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Conv2D(8, 4, strides=4, name="stem")(image)
    for i in range(blocks):
        y = layers.DepthwiseConv2D(7, padding="same", name=f"depthwise_{i}")(x)
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{i}")(y)
        y = layers.Dense(32, name=f"expand_{i}")(y)
        y = layers.Activation("gelu", name=f"gelu_{i}")(y)
        y = layers.Dense(8, name=f"project_{i}")(y)
        y = LayerScale(0.5, name=f"scale_{i}")(y)
        x = layers.Add(name=f"add_{i}")([x, y])
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(10, name="logits")(x)
    return keras.Model(image, layers.Softmax(name="probabilities")(x), name="convnext")


def test_convnext_with_float_normalization(path, tmp_path):
    qmodel, report = check(convnext(), "norm_*", path)
    assert report.float_layers == ["norm_0", "norm_1"]
    # The rest is as in an integer file: LayerScale folded, one DEPTHWISE_CONV_2D a block.
    assert report.operators["DEPTHWISE_CONV_2D"] == 2 and report.operators["GELU"] == 2
    assert report.operators["DEQUANTIZE"] == report.operators["QUANTIZE"] == 2
    assert sum(report.float_operators.values()) == sum(
        report.operators[kind] for kind in report.float_operators
    ) - (report.operators["MEAN"] - report.float_operators["MEAN"]) - (
        report.operators["ADD"] - report.float_operators["ADD"]
    )
    text = str(report)
    assert f"float: {sum(report.float_operators.values())} of the operators" in text
    assert "of the layers 'norm_0', 'norm_1'" in text
    assert "behind float layers: up to 1 step" in text
    assert json.loads(json.dumps(report.to_dict()))["float_layers"] == ["norm_0", "norm_1"]
    result = tflite_tools.verify(qmodel, path, images(SIZE, SIZE, 3, count=4), layers=True)
    assert result.logits.span > 50 and len(result.borders) == 2
    assert {layer.name for layer in result.layers} > {"norm_0", "norm_0_quantized", "gelu_1"}
    assert json.loads(json.dumps(result.to_dict()))["promise"] in str(result)
    found = tflite_tools.inspect(path)
    assert found.operators["DEQUANTIZE", 2] == 2 and found.float_tensors
    # Saved and loaded, the model gives the same file.
    qmodel.save(tmp_path / "q.keras")
    again = tmp_path / "again.tflite"
    tflite_tools.convert(keras.models.load_model(tmp_path / "q.keras"), again, allow_float=True)
    assert again.read_bytes() == path.read_bytes()


# At the ends.


@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_a_float_end_gives_float_outputs(path, interface):
    image = image_input()
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="conv")(image)
    flat = layers.Flatten(name="flat")(x)
    scores = layers.Activation("softplus", name="plus")(layers.Dense(5, name="head")(flat))
    model = keras.Model(image, [scores, layers.Dense(3, name="other")(flat)])
    qmodel, report = check(model, ["head", "plus"], path, interface=interface)
    assert types(path) == ([interface.upper()], ["FLOAT32", interface.upper()])
    assert report.float_layers == ["head", "plus"] and not report.operators["SOFTPLUS"]
    x = images(8, 8, 3, seed=3)
    got, integers = run_file(path, x)
    expected, theirs = run_keras(qmodel, x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(integers, theirs)
    floats, int8 = infer_integers(qmodel, x)
    np.testing.assert_array_equal(floats, expected)
    assert int8.dtype == np.int8
    result = tflite_tools.verify(qmodel, path, x)
    assert isinstance(result.outputs[0], FloatAgreement) and result.outputs[0].equal == 1
    assert result.outputs[0].relative_error < 1e-5 and result.max_steps == 0


def test_a_float_start_still_takes_integers(path):
    image = image_input()
    x = layers.LayerNormalization(name="first")(image)
    x = layers.Conv2D(6, 3, strides=2, name="conv")(x)
    model = keras.Model(image, layers.Flatten(name="flat")(x))
    _, report = check(model, "first", path, interface="uint8")
    assert types(path) == (["UINT8"], ["UINT8"])
    assert report.float_layers == ["first"]


def test_a_model_that_is_float_throughout(path):
    image = image_input()
    x = layers.Conv2D(4, 3, name="conv")(image)
    model = keras.Model(image, layers.Dense(3, name="dense")(x))
    _, report = check(model, "*", path)
    assert types(path) == (["INT8"], ["FLOAT32"])
    assert set(report.operators) == {"DEQUANTIZE", *report.float_operators}


# Graphs.


def test_float_tensors_that_feed_float_and_integer_layers(path):
    image = image_input()
    x = layers.Conv2D(8, 3, padding="same", name="conv")(image)
    norm = layers.LayerNormalization(name="norm")(x)
    a = layers.Activation("softplus", name="soft")(norm)  # float behind float
    b = layers.Conv2D(8, 3, padding="same", name="branch")(norm)  # integers behind float
    # Float again, from both: the float branch must wait for the integer one.
    both = layers.Multiply(name="both")([a, b])
    x = layers.Conv2D(4, 3, name="last")(layers.Add(name="sum")([both, x]))
    model = keras.Model(image, [x, norm, both])
    qmodel, report = check(model, ["norm", "soft", "both"], path)
    assert types(path)[1] == ["INT8", "FLOAT32", "FLOAT32"]
    blocks = freeze(qmodel, allow_float=True).float_blocks
    assert [block.layers for block in blocks] == [["norm", "soft"], ["both"]]
    # Each int8 tensor is turned into floats once.
    assert report.operators["DEQUANTIZE"] == 2 and report.operators["QUANTIZE"] == 2


def test_several_regions_and_several_outputs_of_one_layer(path):
    image = image_input()
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="one")(image)
    left, right = Halves(name="halves")(x)
    left = layers.Conv2D(4, 3, padding="same", name="two")(left)
    right = layers.Activation("softplus", name="soft")(right)
    x = layers.Concatenate(name="join")([left, right])
    x = layers.UnitNormalization(name="unit")(x)
    model = keras.Model(image, layers.Conv2D(3, 3, name="three")(x))
    qmodel, report = check(model, ["halves", "soft", "unit"], path)
    blocks = freeze(qmodel, allow_float=True).float_blocks
    assert [block.layers for block in blocks] == [["halves", "soft"], ["unit"]]
    assert report.operators["SPLIT"] == 1


def test_shared_and_nested_layers_and_operators_of_the_graph(path):
    a, b = keras.Input((8, 8, 3), name="a"), keras.Input((8, 8, 3), name="b")
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, strides=2, name="conv"),
            layers.LayerNormalization(name="norm"),
            layers.Conv2D(4, 2, name="deep"),
        ],
        name="encoder",
    )
    x, y = inner(a), inner(b)
    head = layers.Dense(5, name="head")
    x, y = ops.exp(0.1 * head(layers.Flatten()(x))), head(layers.Flatten()(y))
    model = keras.Model({"a": a, "b": b}, {"sum": x + y, "second": y})
    qmodel = quantized_dict(model, ["norm", "head", "exp*"])
    report = tflite_tools.convert(qmodel, path, allow_float=True)
    result = tflite_tools.verify(qmodel, path, data_for(model, 8, 1), layers=True)
    assert result.breach is None and result.first_difference is None, str(result)
    assert len(report.float_layers) == 3 and len(result.borders) == 5
    # One set of weights in the file, however often the layer is called.
    stored = [b.data for b in flatbuffer.read(path).buffers if b.data is not None]
    kernel = qmodel.get_layer("head").kernel.numpy().T.tobytes()
    assert sum(np.asarray(data, np.uint8).tobytes() == kernel for data in stored) == 1


def quantized_dict(model, leave_float):
    qmodel = mq.quantize(model, leave_float=leave_float)
    return mq.calibrate(qmodel, [data_for(model, 16)], verbose=0)


def test_a_batch_of_fixed_size(path):
    qmodel = quantized(convnext(1), "norm_*")
    tflite_tools.convert(qmodel, path, allow_float=True, batch_size=3)
    (port,) = Interpreter(path.read_bytes()).inputs
    assert port.shape == (3, SIZE, SIZE, 3)
    x = images(SIZE, SIZE, 3, count=7)
    result = tflite_tools.verify(qmodel, path, x)
    assert result.breach is None and result.images == 7


def test_kernels_without_xnnpack_are_compared_as_well(path):
    qmodel = quantized(between(layers.LayerNormalization(name="it")), "it")
    tflite_tools.convert(qmodel, path, allow_float=True)
    result = tflite_tools.verify(qmodel, path, images(8, 8, 3), kernels="builtin", layers=True)
    assert result.kernels == "builtin" and all(b.max_steps <= 1 for b in result.borders)


# Keras' side.


def test_frozen_graph_and_inference_name_the_same_tensors():
    model = between(layers.LayerNormalization(name="norm"), Ramp(name="ramp"))
    qmodel = quantized(model, ["norm", "ramp"])
    graph = freeze(qmodel, allow_float=True)
    tensors = infer_tensors(qmodel, images(8, 8, 3, count=2))
    assert set(tensors) == {t.name for t in graph.tensors if not t.internal}
    assert tensors["ramp"].dtype == np.float32 and "norm" not in tensors
    kinds = [op.kind for op in graph.operators]
    assert kinds == ["CONV_2D", "DEQUANTIZE", "FLOAT", "QUANTIZE", "CONV_2D", "RESHAPE"] + [
        "FULLY_CONNECTED"
    ]
    assert isinstance(graph.operators[3].inputs[0], integer.FloatTensor)
    with pytest.raises(ValueError, match=r"left in float: 'norm', 'ramp'.*allow_float=True"):
        freeze(qmodel)


def test_the_border_rounds_as_litert_does(path):
    # Identity in float, so that its QUANTIZE sees known values: multiples of the scale, ties too.
    image = image_input(1)
    x = layers.Lambda(lambda x: x * 1.0, name="float")(image)
    model = keras.Model(image, layers.Flatten(name="flat")(x))
    qmodel = mq.quantize(model, leave_float="float")
    mq.calibrate(qmodel, images(8, 8, 1, count=64, seed=5), verbose=0)
    tflite_tools.convert(qmodel, path, allow_float=True)
    result = tflite_tools.verify(qmodel, path, images(8, 8, 1, count=64, seed=6))
    assert result.outputs[0].max_steps == 0 and result.outputs[0].span > 200


def test_inference_goes_on_from_given_integers():
    qmodel = quantized(between(layers.LayerNormalization(name="it")), "it")
    x = images(8, 8, 3, count=2)
    own = infer_tensors(qmodel, x)
    same = infer_tensors(qmodel, x, instead={"it_quantized": own["it_quantized"]})
    for name, values in own.items():
        np.testing.assert_array_equal(values, same[name])
    other = infer_tensors(qmodel, x, instead={"it_quantized": own["it_quantized"][::-1]})
    np.testing.assert_array_equal(other["it_quantized"], own["it_quantized"])
    np.testing.assert_array_equal(other["scores"], own["scores"][::-1])


# What is refused.


def test_the_layer_that_the_converter_cannot_express_is_named(path, capfd):
    model = between(layers.LayerNormalization(name="fine"), Erf(name="odd"))
    qmodel = quantized(model, ["fine", "odd"])
    path.write_bytes(b"former")
    with pytest.raises(ConversionError, match="Layer 'odd'.*no operator Erf") as error:
        tflite_tools.convert(qmodel, path, allow_float=True)
    assert "'fine'" not in str(error.value) and "\n" not in str(error.value)
    assert path.read_bytes() == b"former"


def test_control_flow_is_refused_by_name(path):
    def powers(x):
        return ops.while_loop(
            lambda i, y: ops.max(y) < 100.0, lambda i, y: (i + 1, y + ops.abs(y) + 1.0), (0, x)
        )[1]

    model = between(layers.Lambda(powers, output_shape=lambda s: s, name="loop"))
    with pytest.raises(ConversionError, match="Layer 'loop'.*control flow"):
        tflite_tools.convert(quantized(model, "loop"), path, allow_float=True)


@pytest.mark.parametrize("honest", [True, False], ids=["declared", "found out"])
def test_integers_that_leave_the_float_part_are_refused(path, honest):
    image = image_input()
    x = layers.Conv2D(4, 3, name="conv")(image)
    if honest:
        x = ops.cast(x, "int32")
    else:
        # Keras takes what a Lambda gives for floats.
        x = layers.Lambda(lambda x: ops.cast(x, "int32"), name="lambda")(x)
    qmodel = quantized(keras.Model(image, x), ["cast*", "lambda"][not honest])
    with pytest.raises(
        ConversionError, match="(cast(_[0-9]+)?|lambda)' gives int32.*keras.ops.cast"
    ):
        tflite_tools.convert(qmodel, path, allow_float=True)


def test_a_number_for_a_whole_batch_is_refused(path):
    image = image_input()
    x = layers.Conv2D(4, 3, name="conv")(image)
    qmodel = quantized(keras.Model(image, [x, ops.max(ops.exp(x))]), ["max*", "exp*"])
    with pytest.raises(ConversionError, match="'max.*one number for a whole batch"):
        tflite_tools.convert(qmodel, path, allow_float=True)


def test_edgetpu_takes_no_mixed_files(path):
    qmodel = quantized(between(layers.LayerNormalization(name="it")), "it", target="edgetpu")
    with pytest.raises(ConversionError, match="'edgetpu' takes no float operators.*'it'"):
        tflite_tools.convert(qmodel, path, allow_float=True)
    assert not path.exists()


def test_unknown_sizes_are_refused_by_name(path):
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.LayerNormalization(name="norm")(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D(name="mean")(x))
    qmodel = mq.quantize(model, leave_float="norm")
    mq.calibrate(qmodel, images(8, 8, 3), verbose=0)
    with pytest.raises(ConversionError, match="'image_quantized'.*unknown size"):
        tflite_tools.convert(qmodel, path, allow_float=True)


def test_weights_that_are_no_numbers_are_refused_by_name(path):
    qmodel = quantized(between(layers.LayerNormalization(name="it")), "it")
    qmodel.get_layer("it").gamma.assign(np.full(8, np.nan))
    with pytest.raises(ConversionError, match="Layer 'it'.*NaN"):
        tflite_tools.convert(qmodel, path, allow_float=True)


def test_float_layers_that_jump_are_refused_unless_unchecked(path, monkeypatch):
    qmodel = quantized(between(layers.LayerNormalization(name="it")), "it")

    def wrong(part, batch_size, convert=tflite_tools.emission.convert_block):
        found = convert(part, batch_size)
        # A file whose float part computes something else than Keras.
        for buffer in found.model.buffers:
            if buffer.data is not None and len(buffer.data) == 4 * 8:
                buffer.data = (2 * np.frombuffer(bytes(buffer.data), np.float32)).view(np.uint8)
        return found

    monkeypatch.setattr(tflite_tools.emission, "convert_block", wrong)
    with pytest.raises(ConversionError, match="Layer 'it'.*of its largest value.*check=False"):
        tflite_tools.convert(qmodel, path, allow_float=True)
    assert not path.exists()
    report = tflite_tools.convert(qmodel, path, allow_float=True, check=False)
    assert report.agreement is None and path.exists()
    result = tflite_tools.verify(qmodel, path, images(8, 8, 3))
    assert result.breach.name == "it_quantized"
    # Behind the border all is as it should be.
    assert all(output.max_steps == 0 for output in result.behind)


def test_a_mixed_file_is_none_for_a_check_of_integers(path):
    qmodel = quantized(between(layers.LayerNormalization(name="it")), "it")
    tflite_tools.convert(qmodel, path, allow_float=True)
    model, target = flatbuffer.read(path), mq.targets.get("phone")
    allowed.require_allowed(model, target, "int8", allow_float=True)
    with pytest.raises(ConversionError, match="float32; inside a file all is integer"):
        allowed.require_allowed(model, target, "int8")
    with pytest.raises(ConversionError, match="int8, the interface uint8"):
        allowed.require_allowed(model, target, "uint8", allow_float=True)
    # Integers that reach a float operator without DEQUANTIZE are a fault, not a mixed file.
    main = model.subgraphs[0]
    op = next(op for op in main.operators if allowed.is_float_operator(model, op))
    op.inputs = np.array([main.inputs[0], *op.inputs[1:]])
    with pytest.raises(ConversionError, match="meets the float operator"):
        allowed.require_allowed(model, target, "int8", allow_float=True)
