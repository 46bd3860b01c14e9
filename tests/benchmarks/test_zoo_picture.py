"""The picture of the zoo shows what the results say."""

import pathlib
import sys
from xml.etree import ElementTree

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def picture(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "zoo")
    import picture

    yield picture
    del sys.modules["picture"]


def test_bars_are_as_long_as_the_shares(picture):
    ours = {"results": {"A": {"logits_equal": 1.0}, "B<": {"logits_equal": 0.5}}}
    tfmot = {"results": {"A": {"outputs_equal": 0.25}, "B<": {"quantize_model": "Error"}}}
    root = ElementTree.fromstring(picture.draw(ours, tfmot))
    bars = [r for r in root.iter(f"{SVG}rect") if float(r.get("y")) >= picture.TOP]
    whole = picture.WIDTH - picture.LEFT - picture.RIGHT
    shares = [round(float(bar.get("width")) / whole, 3) for bar in bars]
    assert shares == [1.0, 0.25, 0.5]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"A", "B<", "100 %", "25.0 %", "50.0 %", "TFMOT refuses the model"} <= set(texts)


def test_almost_all_is_not_all(picture):
    ours = {"results": {"A": {"logits_equal": 0.99999}}}
    assert "99.9 %" in picture.draw(ours, None) and "100 %" not in picture.draw(ours, None)
