"""`pack`, and `convert` for target "phone-int4": from recipes of few bits to smaller files."""

import json
import zipfile

import broken_files
import frozen_graphs
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import mobilequant as mq
import tflite_tools
from mobilequant.cli import main
from tflite_tools import ConversionError, InvalidModelError, flatbuffer, packing
from tflite_tools.emission import emit

#: Recipes whose weights a file holds in 4 bits.
RECIPES = ["w4a8", "w2a8", "ternary-a8", "w1a8"]


def images(count=32, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """A small MobileNetV2 with the statistics of a network at work."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), name="image")

    def normalized(x, layer, activation=True):
        x = keras.layers.BatchNormalization(momentum=0)(layer(x))
        return keras.layers.ReLU(6.0)(x) if activation else x

    x = normalized(image, keras.layers.Conv2D(8, 3, 2, "same", use_bias=False))
    y = normalized(x, keras.layers.Conv2D(48, 1, use_bias=False, name="expand"))
    y = normalized(y, keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False))
    y = normalized(y, keras.layers.Conv2D(8, 1, use_bias=False, name="project"), False)
    x = normalized(keras.layers.Add()([x, y]), keras.layers.Conv2D(256, 1, use_bias=False))
    x = keras.layers.Dense(64, "relu")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, keras.layers.Dense(10)(x))
    model(images(), training=True)
    return model


def converted(model, path, recipe="w4a8", target="phone", **options):
    qmodel = mq.calibrate(mq.quantize(model, recipe, target=target), images(), verbose=0)
    return qmodel, tflite_tools.convert(qmodel, path, **options)


def int4_tensors(path):
    return [
        flatbuffer.text(tensor.name)
        for tensor in flatbuffer.read(path).subgraphs[0].tensors
        if tensor.type == schema.TensorType.INT4
    ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_of_few_bits(model, tmp_path, recipe):
    path, small = tmp_path / "m.tflite", tmp_path / "p.tflite"
    qmodel, report = converted(model, path, recipe)
    assert report.small_weights is None
    result = tflite_tools.pack(path, small, images(8, seed=1), runs=2)
    assert len(int4_tensors(small)) == len(result.packed) >= 3
    assert result.bytes_before == path.stat().st_size
    saved = sum(weights.elements // 2 for weights in result.packed)
    # Two operator codes more, and their padding.
    assert abs(result.bytes_before - saved - small.stat().st_size) < 200
    assert result.bytes_after == small.stat().st_size
    assert result.zipped_after < result.bytes_after
    assert (result.equal, result.max_steps, result.comparison.images) == (1, 0, 8)
    assert result.comparison.outputs[0].span > 50
    assert result.latency_before > 0 and result.latency_after > 0
    # The file is still the model's, integer for integer.
    figures = tflite_tools.verify(qmodel, small, images(8, seed=2), layers=True)
    assert figures.first_difference is None and figures.equal == 1


def test_everything_that_fits(model, tmp_path):
    path, small = tmp_path / "m.tflite", tmp_path / "p.tflite"
    converted(model, path)
    fast = tflite_tools.pack(path, small, runs=0)
    everything = tflite_tools.pack(path, small, images(16), runs=0, where="all")
    assert everything.bytes_after < fast.bytes_after
    assert len(everything.packed) > len(fast.packed)
    assert {weights.operator for weights in fast.weights if weights.reason} == {"DEPTHWISE_CONV_2D"}
    assert not any(weights.reason for weights in everything.weights)
    assert everything.within_one_step >= 0.98 and everything.max_steps <= 2
    assert fast.latency_before is None
    assert "left as INT8: 1 DEPTHWISE_CONV_2D (432 bytes)" in str(fast)
    assert "agreement: 100 % of outputs equal on 16 images" in str(fast)


def test_the_target_is_the_packed_file(model, tmp_path):
    path, small, own = (tmp_path / f"{name}.tflite" for name in ("m", "p", "t"))
    converted(model, path)
    tflite_tools.pack(path, small, runs=0)
    qmodel, report = converted(model, own, target="phone-int4")
    assert own.read_bytes() == small.read_bytes()
    assert report.target == "phone-int4" and report.agreement.equal == 1
    assert report.operators["FULLY_CONNECTED"] == 5
    assert report.tensors["INT4"] == len(int4_tensors(own)) == 4
    assert "INT4: 4 weight tensors" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["small_weights"][0]["elements"] > 0
    # What was quantized for phones can be converted for all of them.
    tflite_tools.convert(qmodel, own, target="phone")
    assert own.read_bytes() == path.read_bytes()
    tflite_tools.convert(qmodel, own, target="phone-int4", interface="uint8")
    assert tflite_tools.verify(qmodel, own, images(4)).equal == 1


def test_eight_bits_stay_and_zeros_make_a_smaller_zip(model, tmp_path):
    paths = [tmp_path / f"{name}.tflite" for name in ("dense", "sparse")]
    sizes = []
    for recipe, path in zip(("w8a8", "w8a8-2:4"), paths, strict=True):
        converted(model, path, recipe)
        result = tflite_tools.pack(path, path, runs=0)
        assert result.packed == [] and result.equal == 1
        assert result.bytes_after == result.bytes_before
        sizes.append(result.zipped_after)
    assert sizes[1] < 0.85 * sizes[0]
    assert "nothing to pack in" in str(result) and "no weights of 4 bits" in str(result)
    _, report = converted(model, paths[0], target="phone-int4", recipe="w8a8")
    assert report.small_weights == [] and "no weights of 4 bits" in str(report)


def integer_file(path):
    """A file of random integers within ±7; others write such files too."""
    b = frozen_graphs.Builder()
    x = b.conv(b.input((16, 16, 3)), 8, activation="RELU")
    graph = b.finish(b.conv(x, 10, kernel=1))
    for op in graph.operators:
        op.weights.values = np.clip(op.weights.values // 18, -7, 7)
        op.weights.scales = op.weights.scales * np.float32(18)
        op.weights.bias //= 100
    path.write_bytes(emit(graph, interface="uint8"))
    return path


def test_images_that_are_given(tmp_path):
    path, small = integer_file(tmp_path / "m.tflite"), tmp_path / "p.tflite"
    values = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype("float32")
    assert tflite_tools.pack(path, small, values, runs=0).comparison.images == 3
    with pytest.raises(ValueError, match="image.* takes batches of shape"):
        tflite_tools.pack(path, small, values[:, :8], runs=0)
    with pytest.raises(ValueError, match="runs must be at least 0"):
        tflite_tools.pack(path, small, runs=-1)


def test_associated_files_stay(tmp_path):
    path = integer_file(tmp_path / "m.tflite")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    result = tflite_tools.pack(path, path, runs=0)
    assert result.packed and int4_tensors(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt") == b"cat\ndog\n"


def test_nothing_to_pack_is_a_copy(tmp_path):
    path, small, again = (tmp_path / f"{name}.tflite" for name in ("m", "small", "again"))
    integer_file(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    first = tflite_tools.pack(path, small, runs=0, where="all")
    assert first.packed and first.int4_before == 0
    result = tflite_tools.pack(small, again, runs=0, where="all")
    assert again.read_bytes() == small.read_bytes() and result.bytes_after == first.bytes_after
    assert result.int4_before == len(first.packed) and result.to_dict()["int4_before"] == 2
    assert str(result).startswith(f"nothing to pack in {small}; {again} is the same\n")
    assert "INT4 already: 2 weight tensors" in str(result) and "a recipe" not in str(result)


def test_what_is_too_far_is_not_written(tmp_path, monkeypatch):
    path, small = integer_file(tmp_path / "m.tflite"), tmp_path / "p.tflite"
    packed = packing.int4.pack

    def wrong(integers):
        return packed(-integers)

    monkeypatch.setattr(packing.int4, "pack", wrong)
    with pytest.raises(ConversionError, match="m.tflite: packed, too far .*steps at most"):
        tflite_tools.pack(path, small, runs=0)
    assert not small.exists()
    assert not tflite_tools.pack(path, small, runs=0, check=False).agrees
    assert small.exists()


def test_errors(tmp_path):
    path = integer_file(tmp_path / "m.tflite")
    with pytest.raises(InvalidModelError, match="no such file"):
        tflite_tools.pack(tmp_path / "gone.tflite", path)
    broken = tmp_path / "split.tflite"
    broken.write_bytes(broken_files.split_by_zero())
    with pytest.raises(InvalidModelError, match=f"{broken}: LiteRT ends the process"):
        tflite_tools.pack(broken, path)
    with pytest.raises(ConversionError, match="there is no folder"):
        tflite_tools.pack(path, tmp_path / "gone" / "p.tflite")
    with pytest.raises(ConversionError, match="overwrite=False"):
        tflite_tools.pack(path, path, overwrite=False)


def test_on_the_command_line(tmp_path, capfd):
    path, small = integer_file(tmp_path / "m.tflite"), tmp_path / "p.tflite"
    assert main(["pack", str(path), "-o", str(small), "--json", "--runs", "2"]) == 0
    figures = json.loads(capfd.readouterr().out)
    assert figures["bytes_after"] == small.stat().st_size < figures["bytes_before"]
    assert figures["max_steps"] == 0 and figures["latency_after"] > 0
    arguments = ["pack", str(path), "-o", str(small), "--where", "all", "--runs", "0"]
    assert main([*arguments, "--no-check"]) == 0
    assert "on disk, bytes" in capfd.readouterr().out
    assert main(["pack", str(tmp_path / "gone.tflite"), "-o", str(small)]) == 2


@pytest.mark.slow
def test_mobilenet_v2(tmp_path):
    keras.utils.set_random_seed(0)
    model = mq.models.MobileNetV2((32, 32, 3), 20, alpha=0.35, batch_norm_momentum=0.5)
    for _ in range(4):
        model(images(), training=True)
    path, small = tmp_path / "m.tflite", tmp_path / "p.tflite"
    converted(model, path)
    result = tflite_tools.pack(path, small, images(16, seed=1))
    assert result.equal == 1 and result.bytes_after < 0.75 * result.bytes_before
    result = tflite_tools.pack(path, small, images(16, seed=1), where="all", check=False)
    assert result.within_one_step >= 0.95 and result.max_steps <= 3
