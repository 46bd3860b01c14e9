"""inspect and benchmark on our own files and on those of others."""

import json

import frozen_graphs
import pytest

import tflite_tools
from tflite_tools.emission import emit


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(emit(frozen_graphs.classifier(), interface="uint8", batch_size=2))
    return path


def test_own_file(path):
    found = tflite_tools.inspect(path)
    assert found.operators["QUANTIZE", 1] == 2
    assert found.operators["DEPTHWISE_CONV_2D", 3] == 2
    (image,), (output,) = found.inputs, found.outputs
    assert (image.dtype, image.shape, image.zero_point) == ("UINT8", (2, 16, 16, 3), 127)
    assert (output.shape, output.scale, output.zero_point) == ((2, 10), 1 / 256, 0)
    assert found.float_tensors == []
    (signature,) = found.signatures
    assert signature.name == "serving_default"
    assert found.minimum_runtime == found.stated_runtime == "1.14.0"
    weights = 3 * 3 * 3 * 8 + 8 * 24 + 9 * 24 + 24 * 8 + 9 * 8 + 8 * 10
    biases = 8 + 24 + 24 + 8 + 8 + 10
    assert found.parameters == weights + biases
    assert found.weight_bytes == weights + 4 * biases
    assert json.loads(json.dumps(found.to_dict()))["size"] == path.stat().st_size


def test_text(path):
    text = str(tflite_tools.inspect(path))
    for part in ("mobilequant", "DEPTHWISE_CONV_2D", "float tensors   none", "1.14.0"):
        assert part in text


def test_file_of_coral(shared):
    path = shared / "reference/imagenet/tf2_mobilenet_v2_1.0_224_ptq.tflite"
    found = tflite_tools.inspect(path)
    assert found.operators["CONV_2D", 3] == 36
    assert found.operators["MEAN", 2] == 1
    assert found.inputs[0].dtype == "UINT8"
    # 1001 classes; the published network has 3,487,816 parameters folded, with 1,000.
    assert 3.4e6 < found.parameters < 3.6e6


def test_files_of_the_edge_tpu_compiler(shared):
    paths = sorted((shared / "reference/edgetpu").glob("*.tflite"))
    assert paths
    for path in paths:
        found = tflite_tools.inspect(path)
        json.dumps(found.to_dict())
        compiled = path.stem.endswith("_edgetpu")
        assert (("edgetpu-custom-op", 1) in found.operators) == compiled, path.name


def test_functions_are_not_hidden_by_modules():
    import tflite_tools.benchmarking
    import tflite_tools.conversion
    import tflite_tools.inspection
    import tflite_tools.verification

    for name in ("convert", "verify", "inspect", "benchmark"):
        assert callable(getattr(tflite_tools, name))


@pytest.mark.parametrize("xnnpack", [True, False])
def test_latencies_in_turn(path, xnnpack):
    result = tflite_tools.benchmark(path, path, runs=23, warmup=1, xnnpack=xnnpack)
    for latency in result.files:
        assert latency.runs == 23
        assert 0 < latency.minimum <= latency.low <= latency.median <= latency.high
    assert json.loads(json.dumps(result.to_dict()))["xnnpack"] is xnnpack
    assert "median ms" in str(result)


def test_latency_of_files_of_others(shared):
    names = ("mobilenet_v1_0.25_128_quant", "keras_lstm_mnist_ptq")
    paths = [shared / f"reference/edgetpu/{name}.tflite" for name in names]
    result = tflite_tools.benchmark(*paths, runs=2, warmup=0)
    assert all(latency.median > 0 for latency in result.files)


def test_file_that_needs_an_accelerator(shared):
    path = shared / "reference/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    with pytest.raises(ValueError, match="quant_edgetpu.tflite.*edgetpu-custom-op"):
        tflite_tools.benchmark(path)


@pytest.mark.parametrize("bad", [{"threads": 0}, {"runs": 0}, {"warmup": -1}])
def test_numbers_out_of_range(path, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        tflite_tools.benchmark(path, **bad)


def test_no_files():
    with pytest.raises(ValueError, match="no file"):
        tflite_tools.benchmark()
