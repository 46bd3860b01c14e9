"""Plans of whole files: against Edge TPU compiler's own files, and against a second search."""

import collections
import json

import frozen_graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import SmallFile

import tflite_tools
from tflite_tools import InvalidModelError, edgetpu, flatbuffer
from tflite_tools.emission import emit
from tflite_tools.serialization import serialize

PAIRS = [
    "deeplabv3_mnv2_dm05_pascal_quant",
    "keras_lstm_mnist_ptq",
    "mobilenet_v1_0.25_128_quant",
    "posenet_mobilenet_v1_075_353_481_16_quant_decoder",
]

#: What the compiler laid out on the chip for them, as their parameter-caching programs hold it.
ON_CHIP = {
    "deeplabv3_mnv2_dm05_pascal_quant": 766_720,
    "mobilenet_v1_0.25_128_quant": 566_912,
    "posenet_mobilenet_v1_075_353_481_16_quant_decoder": 1_444_608,
}


@pytest.fixture
def pairs(shared):
    folder = shared / "reference/edgetpu"
    return lambda name: (folder / f"{name}.tflite", folder / f"{name}_edgetpu.tflite")


@pytest.mark.parametrize("name", PAIRS)
def test_what_stays_is_what_the_compiler_left(pairs, name):
    source, compiled = pairs(name)
    left = collections.Counter(
        {
            operator: count
            for (operator, _), count in tflite_tools.inspect(compiled).operators.items()
            if operator != "edgetpu-custom-op"
        }
    )
    found = edgetpu.plan(source, compile=False)
    everything = collections.Counter()
    for (operator, _), count in tflite_tools.inspect(source).operators.items():
        everything[operator] += count
    assert found.cpu == left
    assert found.mapped == everything - left
    assert found.subgraphs == 1 and found.fits and not found.compiled
    assert json.loads(json.dumps(found.to_dict()))["cpu"] == left


@pytest.mark.parametrize("name", ON_CHIP)
def test_parameters_take_what_the_compiler_laid_out(pairs, name):
    found = edgetpu.plan(pairs(name)[0], compile=False)
    assert found.parameter_bytes == pytest.approx(ON_CHIP[name], rel=0.05)


def test_reasons_of_a_segmentation_model(pairs):
    found = edgetpu.plan(pairs("deeplabv3_mnv2_dm05_pascal_quant")[0], compile=False)
    (cause,) = found.causes
    assert (cause.kind, cause.behind) == ("RESIZE_BILINEAR", 7)
    text = str(found)
    for part in (
        "64 of 72 operators on the Edge TPU, the first of 2 runs",
        "from 1×1 to 33×33: at most 4 times is known to be taken; with it 7 behind it",
        "from 33×33 to 513×513: at most 4 times is known to be taken (and it is behind 64)",
        "ARG_MAX is not supported (and it is behind 64)",
        "what to change:",
    ):
        assert part in text
    assert found.decisions[67].reason == (
        "behind operator 64 (RESIZE_BILINEAR), which stays on the CPU"
    )


def test_a_compiled_file_is_told_so(pairs):
    found = edgetpu.plan(pairs("deeplabv3_mnv2_dm05_pascal_quant")[1], compile=False)
    assert found.compiled and found.subgraphs == 1
    assert "compiled for the Edge TPU already" in str(found)
    assert found.cpu["CONV_2D"] == 2


@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_own_file(tmp_path, interface):
    path = tmp_path / "m.tflite"
    path.write_bytes(emit(frozen_graphs.classifier(target="edgetpu"), interface=interface))
    found = edgetpu.plan(path, compile=False)
    assert found.complete and found.share == 1 and found.causes == []
    assert "on the CPU" not in str(found)


def test_a_batch_is_beyond_the_chip(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(emit(frozen_graphs.classifier(target="edgetpu"), batch_size=2))
    found = edgetpu.plan(path, compile=False)
    assert not found.mapped and found.subgraphs == 0
    assert found.decisions[0].kind == "rank"


def test_a_float_model_is_told_that_it_is_not_quantized():
    file = SmallFile()
    x = file.input(1, 8, dtype="FLOAT32")
    for _ in range(3):
        x = file.op("RELU", [x], file.tensor(1, 8, dtype="FLOAT32"))
    found = file.plan()
    assert not found.quantized and not found.mapped and found.cpu == {"RELU": 3}
    assert "not quantized to 8 bits: none of 3 operators is mapped" in str(found)
    (advice,) = found.advice
    assert advice.startswith("RELU: ") and "mobilequant.quantize" in advice


def test_the_cpu_converts_float_inputs_first():
    file = SmallFile()
    x = file.input(1, 8, 8, 4, dtype="UINT8", scales=0)
    x = file.op("CAST", [x], file.tensor(1, 8, 8, 4, dtype="FLOAT32"))
    x = file.op("QUANTIZE", [x], file.tensor(1, 8, 8, 4))
    x = file.op("RELU", [x], file.tensor(1, 8, 8, 4))
    x = file.op("DEQUANTIZE", [x], file.tensor(1, 8, 8, 4, dtype="FLOAT32"))
    found = file.plan()
    assert found.mapped == {"RELU": 1}
    assert found.cpu == {"CAST": 1, "QUANTIZE": 1, "DEQUANTIZE": 1}
    assert all(decision.behind is None for decision in found.decisions)


def test_a_first_operator_that_stays_keeps_all_on_the_cpu():
    file = SmallFile()
    x = file.input(1, 8, 8, 4)
    x = file.op("HARD_SWISH", [x], file.tensor(1, 8, 8, 4))
    file.op("RELU", [x], file.tensor(1, 8, 8, 4))
    found = file.plan()
    assert found.mapped == {} and found.subgraphs == 0 and found.segments == 1
    assert found.causes == [
        edgetpu.Cause("t1", "HARD_SWISH", "HARD_SWISH is not supported", found.causes[0].advice, 1)
    ]


def test_names_are_for_people():
    file = SmallFile()
    name = "block/" * 20 + "conv;block/bias;block/relu"
    x = file.op("My\nOp\x1b[31m", [file.input(1, 4)], file.tensor(1, 4, name=name))
    file.op("ABS", [x], file.tensor(1, 4, dtype="FLOAT32"))
    found = file.plan()
    assert all(line.isprintable() and len(line) < 200 for line in str(found).splitlines())
    assert "block/conv'" in str(found) and found.decisions[0].name == name


def test_reasons_that_come_often_are_counted():
    file = SmallFile()
    x = file.input(1, 4)
    for number in range(30):
        x = file.op("HARD_SWISH", [x], file.tensor(1, 4))
        x = file.op(f"Custom{number}", [x], file.tensor(1, 4))
    text = str(file.plan())
    assert text.count("HARD_SWISH is not supported") == 1
    assert "0 HARD_SWISH 't1': HARD_SWISH is not supported; with it 59 behind it" in text
    assert "the same of 29 more" in text and "… and 11 more" in text


@pytest.mark.parametrize(
    ("order", "runs"), [("rrh", 1), ("rhr", 2), ("rhrhr", 3), ("hhr", 1), ("hrhrh", 2), ("hh", 0)]
)
def test_runs_that_the_compiler_could_map_one_by_one(order, runs):
    file = SmallFile()
    x = file.input(1, 4)
    for letter in order:
        x = file.op({"r": "RELU", "h": "HARD_SWISH"}[letter], [x], file.tensor(1, 4))
    assert file.plan().segments == runs


def test_a_file_that_computes_sizes_is_refused_as_a_whole():
    file = SmallFile()
    x = y = file.input(1, 4, 4, 2)
    for _ in range(3):
        x = file.op("RELU", [x], file.tensor(1, 4, 4, 2))
    shape = file.op("SHAPE", [y], file.tensor(4, dtype="INT32"))
    file.op("RESHAPE", [x, shape], file.tensor(1, 32))
    found = file.plan()
    assert not found.mapped and found.segments == 0
    (cause,) = found.causes
    assert (cause.kind, cause.behind) == ("RESHAPE", 4)
    assert found.decisions[0].reason == "the compiler refuses the file for operator 4 (RESHAPE)"
    assert "fix the input's shape" in str(found)


def test_a_batch_that_is_left_open_is_planned_as_the_one_that_is_stated():
    file = SmallFile()
    x = file.input(1, 8, signature=(-1, 8))
    file.op("RELU", [x], file.tensor(1, 8, signature=(-1, 8)))
    found = file.plan()
    assert found.complete and found.open_sizes
    assert "the file leaves sizes open" in str(found)


def test_large_parameters_are_sent_at_every_inference():
    file = SmallFile()
    x = file.input(1, 2048)
    for _ in range(3):
        weights = file.tensor(2048, 2048, values=1)
        bias = file.tensor(2048, dtype="INT32", scales=1, values=0)
        x = file.op("FULLY_CONNECTED", [x, weights, bias], file.tensor(1, 2048))
    found = file.plan()
    assert not found.fits and found.complete
    assert found.parameter_bytes == pytest.approx(3 * 2048 * 2048, rel=0.02)
    assert found.streamed_bytes == pytest.approx(5 * 2**20, rel=0.05)
    assert "are sent to it at every inference" in str(found)
    assert any("smaller model" in line for line in found.advice)


def test_operators_of_other_subgraphs_are_left_alone(tmp_path):
    file = SmallFile()
    x = file.op("HARD_SWISH", [file.input(1, 4)], file.tensor(1, 4))
    file.op("RELU", [x], file.tensor(1, 4))
    model = flatbuffer.parse(file.bytes())
    model.subgraphs.append(model.subgraphs[0])
    path = tmp_path / "two.tflite"
    path.write_bytes(serialize(model))
    found = edgetpu.plan(path, compile=False)
    assert found.cpu == {"HARD_SWISH": 2, "RELU": 2}
    assert [decision.subgraph for decision in found.decisions] == [0, 0, 1, 1]
    assert "subgraph 1" in found.decisions[2].reason
    assert [cause.behind for cause in found.causes] == [1, 0, 0]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_mapped_is_what_has_nothing_unmapped_before_it(data):
    """A second search: by the set of all operators before each, on random graphs."""
    file = SmallFile()
    tensors, before = [file.input(1, 4)], {0: frozenset()}
    kinds = {}
    for number in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from(["ADD", "MUL", "LOGISTIC", "HARD_SWISH", "DIV"]))
        count = 1 if kind in ("LOGISTIC", "HARD_SWISH") else 2
        chosen = [data.draw(st.sampled_from(tensors)) for _ in range(count)]
        output = file.op(kind, chosen, file.tensor(1, 4))
        kinds[number] = kind
        before[output] = frozenset({number}).union(*(before[x] for x in chosen))
        tensors.append(output)
    expected = [
        all(kinds[n] not in ("HARD_SWISH", "DIV") for n in before[output]) for output in tensors[1:]
    ]
    found = file.plan()
    assert [decision.mapped for decision in found.decisions] == expected
    assert found.mapped.total() + found.cpu.total() == len(kinds)
    assert sum(1 + cause.behind for cause in found.causes) == found.cpu.total()
    for decision in found.decisions:
        if decision.behind is not None:
            assert decision.behind in before[tensors[decision.index + 1]]
            assert found.decisions[decision.behind].behind is None


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x1c\0\0\0TFL3" + bytes(40)])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match="broken.tflite"):
        edgetpu.plan(path)


@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8))
@settings(max_examples=150, deadline=None)
def test_random_bytes_in_a_file_give_a_plan_or_an_error(sound, places):
    broken = bytearray(sound)
    for place, value in places:
        broken[place % len(broken)] = value
    try:
        model = flatbuffer.parse(bytes(broken))
    except InvalidModelError:
        return
    found = edgetpu.plan_model(model, "mutated.tflite")
    str(found), json.dumps(found.to_dict())


@pytest.fixture(scope="module")
def sound():
    return emit(frozen_graphs.classifier(target="edgetpu"))
