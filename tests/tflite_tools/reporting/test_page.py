"""The page: what is on it, that it is one file, and that names in a model stay text."""

import base64
import dataclasses
import hashlib
import json
from html.parser import HTMLParser

import foreign_files
import numpy as np
import pytest
import sample_pages

import tflite_tools
from tflite_tools.agreement import FloatAgreement
from tflite_tools.reporting import Example, View


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return sample_pages.write_file(tmp_path_factory.mktemp("report") / "m.tflite")


@pytest.fixture(scope="module")
def page(path):
    return sample_pages.page_of(path)


class Document(HTMLParser):
    """A page as a browser reads it: elements with attributes, text by element."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.scripts, self._open = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open = tag

    def handle_data(self, data):
        (self.scripts if self._open == "script" else self.texts).append(data)

    def handle_endtag(self, tag):
        self._open = ""

    def all(self, tag):
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def ids(document):
    """What can be linked to."""
    return {attributes["id"] for _, attributes in document.elements if "id" in attributes}


def test_everything_is_on_it(page, path):
    document = Document(page.html)
    text = " ".join(document.texts)
    sections = {"summary", "accuracy", "agreement", "examples", "layers", "operators", "latency"}
    assert sections <= ids(document) and "origin" in ids(document)
    assert "every integer is equal, on 10 images" in text
    assert "-5.00 points" in text and "70.00 %" in text
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert "10 %" in text and "20 %" in text  # the roots of 0.01 and 0.04
    assert "CONV_2D" in text and f"{page.latency.files[0].median:.3g} ms" in text
    assert "The models disagree." in text
    # A row for each operator, and one for each kind; accuracy and agreement have two and one.
    rows = len(page.inspection.subgraphs[0].operators) + len(page.inspection.operators) + 3
    assert len(document.all("tr")) == rows + len(document.all("table"))


def test_it_loads_nothing(page):
    document = Document(page.html)
    assert not document.all("link") and not document.all("iframe")
    for tag, attributes in document.elements:
        for name in ("src", "href", "srcset", "action"):
            assert attributes.get(name, "data:").startswith("data:"), tag
    assert "@import" not in page.html and "url(" not in page.html
    (script,) = document.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [m["content"] for m in document.all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_names_stay_text(page):
    document = Document(page.html)
    assert len(document.all("script")) == 1
    assert all(image["src"].startswith("data:image/") for image in document.all("img"))
    for _, attributes in document.elements:
        assert not any(name.startswith("on") for name in attributes)
    # As a layer, a class, a measure and a line of the origin.
    assert sum(sample_pages.HOSTILE in text for text in document.texts) >= 10


def test_characters_that_cannot_be_shown(page):
    strange = dataclasses.replace(page, origin={"name": "a\x00b\ud800c\u202ed"})
    text = " ".join(Document(strange.html).texts)
    assert r"a\x00b\ud800c\u202ed" in text


def test_of_the_file_alone(path, tmp_path):
    output = tmp_path / "page.html"
    page = tflite_tools.report(path, output, runs=0)
    assert output.read_text("utf-8") == page.html
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]
    document = Document(page.html)
    assert "Not compared with a Keras model." in document.texts
    assert not {"accuracy", "agreement", "examples", "latency"} & ids(document)
    assert {"layers", "operators", "origin"} <= ids(document)


def test_a_broken_contract_is_the_first_that_is_said(page):
    broken = dataclasses.replace(page, agreement=sample_pages.agreement(page.path, apart=2))
    html = broken.html
    assert 'class="verdict bad">Breaks the contract: stem (CONV_2D) lies up to 2 steps' in html
    assert not broken.to_dict()["contract"] and page.to_dict()["contract"]


def test_outputs_of_float_layers_are_told_as_such(page):
    figures = FloatAgreement("scores")
    figures.add(np.full((2, 3), 4.0, "float32"), np.full((2, 3), 4.002, "float32"))
    agreement = dataclasses.replace(page.agreement, outputs=[figures], borders=[])
    html = dataclasses.replace(page, agreement=agreement).html
    assert "Breaks the contract: scores (FLOAT) lies up to 0.0005 of its largest value" in html
    assert "0.0001 of their largest value" in html and "±4" in html


def test_a_model_that_sees_nothing_disagrees():
    something, nothing = View("one", [("cat", 0.5)]), View("other", [])
    assert Example("image", [something, nothing]).differs
    assert not Example("image", [nothing, nothing]).differs


def test_it_is_short_in_a_notebook(page):
    text = repr(page)
    assert text.endswith("bytes, the contract holds on 10 images>") and page.path in text


@pytest.mark.parametrize("make", [foreign_files.float32, foreign_files.custom])
def test_of_any_file(make, tmp_path):
    path = tmp_path / "theirs.tflite"
    path.write_bytes(make())
    page = tflite_tools.report(path, tmp_path / "page.html", runs=1)
    text = " ".join(Document(page.html).texts)
    if make is foreign_files.float32:
        assert "not quantized to 8 bits" in text and "Median" in text
    else:
        assert "Not measured" in text and "LiteRT cannot run it" in text


def test_of_several_subgraphs(tmp_path):
    path = tmp_path / "loop.tflite"
    path.write_bytes(foreign_files.subgraphs())
    page = tflite_tools.report(path, runs=0)
    operators = [op for graph in page.inspection.subgraphs for op in graph.operators]
    assert f"All {len(operators)} operators" in page.html


def test_the_same_as_json(page):
    found = json.loads(json.dumps(page.to_dict(), allow_nan=False))
    assert found["contract"] and found["measures"][0]["values"]["the file"] == 0.7
    assert found["examples"][1]["views"][1]["predictions"][0] == {"name": "cat", "score": 0.1}
    assert [layer["snr"] for layer in found["sensitivity"]["layers"]] == pytest.approx(
        [20, None, 13.979], abs=0.001
    )
    assert set(found) >= {"inspection", "edgetpu", "latency", "agreement", "origin"}


def test_what_is_refused(path, tmp_path):
    report = tflite_tools.report
    with pytest.raises(ValueError, match="give both or neither"):
        report(path, images=np.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match="page.htm must end in .html"):
        report(path, tmp_path / "page.htm")
    with pytest.raises(ValueError, match="there is no folder"):
        report(path, tmp_path / "none" / "page.html")
    with pytest.raises(tflite_tools.InvalidModelError, match="none.tflite"):
        report(tmp_path / "none.tflite", tmp_path / "page.html")
    with pytest.raises(ValueError, match="read twice"):
        report(path, qmodel=object(), images=iter([]))
    with pytest.raises(ValueError, match="PNG or JPEG"):
        Example("one", [], picture=b"GIF89a")
    with pytest.raises(ValueError, match="PNG or JPEG"):
        View("the file", [], picture=b"<svg onload=hacked()>")
    assert not list(tmp_path.iterdir())
