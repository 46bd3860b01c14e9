"""One file against another: integers against the NumPy reference, real values against LiteRT's."""

import json

import broken_files
import frozen_graphs
import keras
import numpy as np
import pytest
import tensorflow as tf

import tflite_tools
from tflite_tools import flatbuffer
from tflite_tools.agreement import Agreement, FloatAgreement, IndexAgreement
from tflite_tools.emission import emit
from tflite_tools.interpreter import Interpreter
from tflite_tools.serialization import serialize


def images(count=5, size=16, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype("float32")


def write(path, graph, change=None, **options):
    """Writes the file of a graph, changed on the way."""
    data = emit(graph, **options)
    if change is not None:
        model = flatbuffer.parse(data)
        change(model)
        data = serialize(model)
    path.write_bytes(data)
    return path


def operator(model, name):
    """The operator that computes a tensor."""
    main = model.subgraphs[0]
    return next(
        op for op in main.operators if flatbuffer.text(main.tensors[op.outputs[0]].name) == name
    )


def move_bias(name, by):
    """A change of a file: all biases of a layer."""

    def change(model):
        tensor = model.subgraphs[0].tensors[operator(model, name).inputs[2]]
        buffer = model.buffers[tensor.buffer]
        biases = np.asarray(buffer.data, np.uint8).view(np.int32) + by
        buffer.data = biases.view(np.uint8)

    return change


def outputs_of(path, x):
    """Real values, by LiteRT alone."""
    file = Interpreter(path.read_bytes())
    (array,) = file.run(file.inputs[0].quantize(x))
    return file.outputs[0].dequantize(array)


@pytest.fixture
def graph():
    return frozen_graphs.classifier(seed=1)


def test_int8_and_uint8_stand_for_the_same(graph, tmp_path):
    a = write(tmp_path / "a.tflite", graph)
    b = write(tmp_path / "b.tflite", graph, interface="uint8", output_interface="uint8")
    found = tflite_tools.compare(a, b, images(), layers=True)
    assert isinstance(found.outputs[0], Agreement)
    assert (found.images, found.equal, found.max_steps, found.top1_agreement) == (5, 1, 0, 1)
    assert found.max_error is None and found.first_difference is None
    names = {op.outputs[0].name for op in graph.operators}
    assert {layer.name for layer in found.layers} == names
    assert "every tensor agrees" in str(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["max_steps"] == 0


def test_the_first_tensor_where_they_part(graph, tmp_path):
    a = write(tmp_path / "a.tflite", graph)
    b = write(tmp_path / "b.tflite", graph, move_bias("project", 900))
    x = images()
    found = tflite_tools.compare(a, b, x, layers=True)
    first = found.first_difference
    assert (first.name, first.kind) == ("project", "CONV_2D")

    (entry,) = graph.inputs
    q = np.clip(np.rint(x / entry.scale) + entry.zero_point, -128, 127)
    before = frozen_graphs.run(graph, [q])["project"].astype(int)
    project = next(op for op in graph.operators if op.outputs[0].name == "project")
    project.weights.bias[:] += 900
    steps = np.abs(frozen_graphs.run(graph, [q])["project"].astype(int) - before)
    assert steps.max() > 1
    assert (first.max_steps, first.equal) == (steps.max(), np.mean(steps == 0))
    assert f"first difference: project (CONV_2D), up to {steps.max()} steps" in str(found)
    assert found.to_dict()["first_difference"]["name"] == "project"
    assert "tensors differ" in found.plot(tmp_path / "m.png").get_suptitle()


def test_other_quantization_is_compared_by_real_values(tmp_path):
    a = write(tmp_path / "a.tflite", frozen_graphs.classifier(seed=1, softmax=False))
    b = write(tmp_path / "b.tflite", frozen_graphs.classifier(seed=2, softmax=False))
    x = images(7)
    found = tflite_tools.compare(a, b, x)
    (figures,) = found.outputs
    assert isinstance(figures, FloatAgreement) and found.max_steps is None
    one, other = outputs_of(a, x), outputs_of(b, x)
    noise = np.sum(np.square(one - other, dtype=float))
    np.testing.assert_allclose(found.max_error, np.abs(one - other).max(), rtol=1e-6)
    np.testing.assert_allclose(
        figures.signal_to_noise, 10 * np.log10(np.sum(np.square(one, dtype=float)) / noise)
    )
    assert found.top1_agreement == np.mean(one.argmax(-1) == other.argmax(-1))
    assert "dB signal to noise" in str(found)


def test_a_float_file_and_an_integer_one(tmp_path):
    """Of TensorFlow's own converter, with its own names."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]
    )
    paths = [tmp_path / "float.tflite", tmp_path / "dynamic.tflite"]
    for path, optimizations in zip(paths, [[], [tf.lite.Optimize.DEFAULT]], strict=True):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = optimizations
        if optimizations:
            converter.representative_dataset = lambda: ([images(1, 8, seed)] for seed in range(8))
            converter.inference_input_type = converter.inference_output_type = tf.uint8
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        path.write_bytes(converter.convert())
    x = images(9, 8)
    found = tflite_tools.compare(*paths, tf.data.Dataset.from_tensor_slices(x).batch(4))
    expected = model(x).numpy()
    assert found.images == 9
    np.testing.assert_allclose(found.outputs[0].largest, np.abs(expected).max(), rtol=1e-5)
    np.testing.assert_allclose(
        found.max_error, np.abs(outputs_of(paths[1], x) - expected).max(), rtol=1e-3
    )
    assert 20 < found.outputs[0].signal_to_noise < 60


def test_files_of_different_batch_sizes(graph, tmp_path):
    a = write(tmp_path / "a.tflite", graph)
    b = write(tmp_path / "b.tflite", graph, batch_size=3)
    assert tflite_tools.compare(a, b, images(11), layers=True).equal == 1


def test_random_images_reach_over_the_inputs_range(graph, tmp_path):
    a = write(tmp_path / "a.tflite", graph)
    found = tflite_tools.compare(a, a)
    assert found.images == 16 and found.equal == 1 and found.outputs[0].distinct > 1


def argmax_file(path, seed):
    """Writes the file of a convolution and its largest channel."""
    kernel = np.random.default_rng(seed).normal(size=(3, 3, 3, 5)).astype("float32")
    classes = tf.function(lambda x: tf.argmax(tf.nn.conv2d(x, kernel, 1, "SAME"), -1))
    concrete = classes.get_concrete_function(tf.TensorSpec((1, 8, 8, 3)))
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    return path


def test_indices_are_equal_or_not(tmp_path):
    paths = [argmax_file(tmp_path / f"{seed}.tflite", seed) for seed in (1, 2)]
    x = images(3, 8)
    found = tflite_tools.compare(*paths, x)
    (figures,) = found.outputs
    assert isinstance(figures, IndexAgreement)
    one, other = (Interpreter(path.read_bytes()).run(x)[0] for path in paths)
    assert figures.equal == np.mean(one == other) and figures.max_steps == 1


def test_limits(tmp_path):
    graph = frozen_graphs.classifier(seed=1, softmax=False)
    a = write(tmp_path / "a.tflite", graph)
    b = write(tmp_path / "b.tflite", graph, move_bias("logits", 700))
    found = tflite_tools.compare(a, b, images())
    steps = found.max_steps
    assert steps > 0 and found.breach() is None
    assert found.breach(max_steps=steps, min_equal=found.equal, min_top1=0) is None
    assert found.breach(max_steps=steps - 1) == (
        f"an output differs by {steps} steps, {steps - 1} allowed"
    )
    assert "100 % asked for" in found.breach(min_equal=1)
    with pytest.raises(ValueError, match="a.tflite and .*b.tflite: .* set a limit to the steps"):
        found.breach(max_error=0.1)
    c = write(tmp_path / "c.tflite", frozen_graphs.classifier(seed=2, softmax=False))
    d = write(tmp_path / "d.tflite", frozen_graphs.classifier(seed=3, softmax=False))
    real = tflite_tools.compare(c, d, images())
    with pytest.raises(ValueError, match="have no quantization step in common"):
        real.breach(max_steps=1)
    assert real.breach(max_error=real.max_error) is None
    assert "differ by" in real.breach(max_error=real.max_error / 2)


def test_files_that_cannot_be_compared(graph, tmp_path):
    a = write(tmp_path / "a.tflite", graph)
    small = write(tmp_path / "small.tflite", frozen_graphs.classifier(size=8))
    with pytest.raises(ValueError, match=r"small.tflite has inputs of shapes \(1, 8, 8, 3\)"):
        tflite_tools.compare(a, small, images())
    few = write(tmp_path / "few.tflite", frozen_graphs.classifier(classes=5))
    with pytest.raises(ValueError, match=r"few.tflite has outputs of shapes \(1, 5\)"):
        tflite_tools.compare(a, few, images())
    with pytest.raises(ValueError, match=r"Input 'image' takes batches of shape"):
        tflite_tools.compare(a, a, images(size=8))
    (tmp_path / "none.tflite").write_bytes(a.read_bytes()[:300])
    with pytest.raises(tflite_tools.InvalidModelError, match="none.tflite"):
        tflite_tools.compare(a, tmp_path / "none.tflite", images())


def test_a_file_that_ends_the_process_is_an_error(tmp_path):
    path = tmp_path / "split.tflite"
    path.write_bytes(broken_files.split_by_zero())
    with pytest.raises(
        tflite_tools.InvalidModelError, match=r"split.tflite: LiteRT ends .*SIGSEGV"
    ):
        tflite_tools.compare(path, path)


def test_files_of_other_hands(shared):
    folder = shared / "reference" / "edgetpu"
    path = folder / "mobilenet_v1_0.25_128_quant.tflite"
    found = tflite_tools.compare(path, path, images(2, 128), layers=True)
    assert found.equal == 1 and len(found.layers) > 25 and found.first_difference is None
    assert max(map(len, str(found).splitlines()[1:])) < 140  # its names are lines of their own
    compiled = folder / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    with pytest.raises(ValueError, match="_edgetpu.tflite: LiteRT cannot run it: .*edgetpu-custom"):
        tflite_tools.compare(path, compiled)
