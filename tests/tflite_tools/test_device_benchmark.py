"""`benchmark_model` on a phone and here.

There is no phone here: a script named `adb` stands in for one. It keeps what is pushed in a folder
and runs it there, so that the order of calls is what a device would see; a script stands for
`benchmark_model` and prints what that prints.
"""

import os
import stat

import frozen_graphs
import pytest

import tflite_tools
from tflite_tools.benchmark_output import parse_profile, parse_timings
from tflite_tools.emission import emit

TIMINGS = """\
{info}STARTING!
{info}Log parameter values verbosely: [0]
{info}Num threads: [1]
{info}Graph: [1.tflite]
{info}Loaded model 1.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
{info}The input model file size (MB): 0.005
{info}Initialized session in 18.777ms.
{info}Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
{info}count=9 first=64791 curr=56295 min=54873 max=65831 avg=57758.2 std=4065

{info}Running benchmark for at least 50 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
{info}count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 std=1562

{info}Inference timings in us: Init: 18777, First inference: 64791, Warmup (avg): 57758.2, \
Inference (avg): 55043.2
{info}Note: as the benchmark tool itself affects memory footprint, the following is only \
APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your \
discretion.
{info}Memory footprint delta from the start of the tool (MB): init=8.97656 overall=18.7227
"""

#: Tabs, with the column [start], as until TensorFlow 2.8.
OLD_PROFILE = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t\
  [mem KB]\t[times called]\t[Name]
\t         AllocateTensors\t            0.000\t    1.356\t    1.356\t100.000%\t100.000%\t\
     0.000\t        1\tAllocateTensors/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t\
  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t            0.066\t   87.754\t   60.957\t 75.000%\t 75.000%\t\
     0.000\t        1\t[MobilenetV1/Conv2d_0/Relu6]:0
\t       DEPTHWISE_CONV_2D\t           61.033\t   53.628\t   20.319\t 25.000%\t100.000%\t\
     0.000\t        1\t[MobilenetV1/Conv2d_1_depthwise/Relu6]:1

============================== Top by Computation Time ==============================
\t                 CONV_2D\t            0.066\t   87.754\t   60.957\t 75.000%\t 75.000%\t\
     0.000\t        1\t[MobilenetV1/Conv2d_0/Relu6]:0
"""

#: Spaces, XNNPACK's own names, several calls in one row: as today.
NEW_PROFILE = """\
INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
                                     [node type]          [first]        [avg ms]            [%]\
          [cdf%]          [mem KB]        [times called]  [Name]
                                        QUANTIZE            0.199           0.203         20.300%\
          20.300%             0.000                1       [tfl.quantize]:0
                  Convolution (NHWC, QC8) DWConv            0.428           0.061         79.300%\
         99.600%             0.000               13       Delegate/Convolution (NHWC, QC8) DWConv:1

============================== Top by Computation Time ==============================
"""

BENCHMARK_MODEL = """\
#!/bin/sh
for word in "$@"; do case "$word" in
  --graph=*) [ -f "${{word#--graph=}}" ] || {{ echo "no graph"; exit 1; }} ;;
esac; done
echo "$@" >> {log}
cat <<'END'
{timings}
END
case "$*" in *--enable_op_profiling=true*) cat <<'END'
{profile}
END
esac
"""

#: The device's folder /data/local/tmp lies below $PHONE.
ADB = """\
#!/bin/sh
phone={phone}
case "$1" in
  devices) printf 'List of devices attached\\n{devices}\\n'; exit 0 ;;
  -s) shift 2 ;;
esac
case "$1" in
  push) cp "$2" "$phone$3" && echo "$2: 1 file pushed." ;;
  shell) case "$2" in
      "getprop ro.product.model") echo "Pixel 7" ;;
      *) sh -c "$(printf '%s' "$2" | sed "s#/data/local/tmp#$phone/data/local/tmp#g")" ;;
    esac ;;
esac
"""


def script(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(emit(frozen_graphs.classifier()))
    return path


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """Attaches devices: a function of what `adb devices` prints after its first line."""
    folder = tmp_path / "phone" / "data" / "local" / "tmp"
    folder.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def attach(devices):
        text = ADB.format(phone=tmp_path / "phone", devices=devices)
        script(tmp_path / "bin" / "adb", text)
        return folder

    return attach


def binary(tmp_path, timings=TIMINGS, profile=NEW_PROFILE, info="INFO: "):
    text = BENCHMARK_MODEL.format(
        log=tmp_path / "calls", timings=timings.format(info=info), profile=profile
    )
    return script(tmp_path / "benchmark_model", text)


def test_on_a_phone(model, phone, tmp_path):
    folder = phone(r"R5CR\tdevice")
    result = tflite_tools.benchmark_on_device(
        model, model, binary=binary(tmp_path), threads=2, runs=50, warmup=3, xnnpack="both",
        profile=True,
    )  # fmt: skip
    assert result.device == "Pixel 7 (R5CR), benchmark_model" and result.statistic == "mean"
    assert [entry.runtime for entry in result.files] == ["XNNPACK", "built-in kernels"] * 2
    entry = result.files[0]
    assert (entry.path, entry.size, entry.runs) == (str(model), model.stat().st_size, 50)
    assert (entry.mean, entry.minimum, entry.median) == (55.0432, 53.077, None)
    assert (entry.load, entry.first) == (18.777, 64.791)
    assert [op.kind for op in entry.operators] == ["QUANTIZE", "Convolution (NHWC, QC8) DWConv"]
    text = str(result)
    assert "mean ms" in text and "55.043" in text and "DWConv" in text
    assert "Pixel 7" in result.plot().get_suptitle()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 8 and sum("--enable_op_profiling" in call for call in calls) == 4
    assert all("--num_threads=2 --num_runs=50 --warmup_runs=3" in call for call in calls)
    assert sum("--use_xnnpack=false" in call for call in calls) == 4
    assert list(folder.iterdir()) == []  # what was brought is gone


def test_here_without_adb(model, tmp_path):
    program = binary(tmp_path, profile=OLD_PROFILE, info="")
    result = tflite_tools.benchmark_on_device(model, binary=program, adb=False, profile=True)
    assert "this machine" in result.device and result.files[0].runtime == "XNNPACK"
    assert [op.milliseconds for op in result.files[0].operators] == [60.957, 20.319]
    result = tflite_tools.benchmark_on_device(model, binary=program, adb=False)
    assert result.files[0].operators is None and result.profile_note is None
    silent = binary(tmp_path, profile="", info="")
    result = tflite_tools.benchmark_on_device(model, binary=silent, adb=False, profile=True)
    assert "printed none" in result.profile_note


@pytest.mark.parametrize("info", ["", "INFO: "])
def test_timings(info):
    found = parse_timings(TIMINGS.format(info=info))
    assert (found.low, found.high) == pytest.approx((55.0432 - 1.562, 55.0432 + 1.562))
    assert (found.runs, found.memory, found.memory_added) == (50, None, 18_722_700)


def test_timings_of_one_run():
    lines = "count=1 curr=980043\n\ncount=1 curr=943000\n\nInference timings in us: Init: 5, "
    found = parse_timings(lines + "First inference: 980043, Warmup (avg): 980043, Inference")
    assert (found.mean, found.low, found.high, found.runs) == (943, 943, 943, 1)


def test_a_profile_counts_all_calls():
    quantize, depthwise = parse_profile(NEW_PROFILE)
    assert quantize.name == "[tfl.quantize]:0" and quantize.share == 0.203
    assert depthwise.milliseconds == pytest.approx(13 * 0.061)
    assert [op.name[-2:] for op in parse_profile(OLD_PROFILE)] == [":0", ":1"]
    assert parse_profile("") == []


def test_devices_that_cannot_be_used(model, phone, tmp_path):
    program = binary(tmp_path)
    cases = [
        ("", None, "no device is ready. Attach one"),
        (r"R5CR\tunauthorized", None, "no device is ready (R5CR is unauthorized)"),
        (r"R5CR\tdevice\nZY22\tdevice", None, "several devices are attached: R5CR, ZY22"),
        (r"R5CR\tdevice", "ZY22", "device ZY22 is not attached; ready: R5CR"),
    ]
    for devices, serial, message in cases:
        phone(devices)
        with pytest.raises(ValueError) as caught:
            tflite_tools.benchmark_on_device(model, binary=program, serial=serial)
        assert message in str(caught.value)


def test_one_of_several_devices(model, phone, tmp_path):
    phone(r"R5CR\tdevice\nZY22\tdevice")
    options = {"binary": binary(tmp_path), "serial": "ZY22"}
    assert "ZY22" in tflite_tools.benchmark_on_device(model, **options).device


def test_what_goes_wrong(model, phone, tmp_path, monkeypatch):
    folder = phone(r"R5CR\tdevice")
    with pytest.raises(ValueError, match="none: there is no such file; it must be LiteRT's"):
        tflite_tools.benchmark_on_device(model, binary=tmp_path / "none")
    crash = script(tmp_path / "crash", "#!/bin/sh\necho 'ERROR: Failed to load model'\nexit 1\n")
    with pytest.raises(ValueError, match="m.tflite: adb failed .1.: ERROR: Failed to load model"):
        tflite_tools.benchmark_on_device(model, binary=crash)
    assert list(folder.iterdir()) == []
    other = script(tmp_path / "other", "#!/bin/sh\necho usage: something else\n")
    with pytest.raises(ValueError, match="m.tflite: .* no timings; the last it said: usage: some"):
        tflite_tools.benchmark_on_device(model, binary=other, adb=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="adb is not installed or not on the PATH"):
        tflite_tools.benchmark_on_device(model, binary=crash)
