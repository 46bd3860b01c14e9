"""`mobilequant plan`: text, JSON, and the exit code that a build looks at."""

import json
import shutil

import pytest

from mobilequant.cli import main


@pytest.fixture
def files(shared, tmp_path, monkeypatch):
    """Two of Coral's files, one that is mapped as a whole; no compiler on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("mobilenet_v1_0.25_128_quant", "deeplabv3_mnv2_dm05_pascal_quant"):
        shutil.copy(shared / f"reference/edgetpu/{name}.tflite", tmp_path)
    whole, partly = sorted(tmp_path.glob("*.tflite"), reverse=True)
    return str(whole), str(partly)


def test_text_says_what_stays_and_what_to_change(files, capsys):
    assert main(["plan", files[1]]) == 0
    out = capsys.readouterr().out
    for part in ("64 of 72 operators", "RESIZE_BILINEAR", "what to change", "MiB"):
        assert part in out


def test_json(files, capsys):
    assert main(["plan", files[0], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["complete"] and found["cpu"] == {} and found["mapped"]["CONV_2D"] == 15
    assert found["compilation"] is None


def test_all_may_be_required(files, capsys):
    assert main(["plan", files[0], "--require-all"]) == 0
    assert main(["plan", files[1], "--require-all"]) == 1
    assert "8 of 72 operators stay on the CPU" in capsys.readouterr().err


def test_a_missing_compiler_is_an_error_only_where_it_is_asked_for(files, capsys):
    assert main(["plan", files[0], "--compile"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "edgetpu_compiler is not on the path" in line


def test_broken_file(tmp_path, capsys):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"TFL3" * 8)
    assert main(["plan", str(path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "broken.tflite" in line
