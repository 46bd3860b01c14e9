"""The documentation site builds without a warning, holds all it should, and needs no network."""

import html.parser
import importlib
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).parents[1]

#: What has a page in the reference; a new public package must be added to docs/hooks/reference.py.
PACKAGES = (
    "mobilequant",
    "mobilequant.data",
    "mobilequant.integer",
    "mobilequant.layers",
    "mobilequant.models",
    "mobilequant.quantizers",
    "mobilequant.tasks.detection",
    "mobilequant.tasks.metrics",
    "mobilequant.training",
    "tflite_tools",
    "tflite_tools.metadata",
)

#: Attributes with which a page loads something by itself.
_LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}


class Page(html.parser.HTMLParser):
    """What a page loads, what it links to, and whether formulas are in it."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links, self.tags = [], [], set()
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        if tag in _LOADED and attributes.get(_LOADED[tag]):
            self.loaded.append(attributes[_LOADED[tag]])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages by name, from a strict build."""
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: it hides warnings from --strict as well.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {str(path.relative_to(folder)): Page(path) for path in folder.rglob("*.html")}


def test_pages_load_nothing_from_elsewhere(site):
    foreign = {
        (name, source)
        for name, page in site.items()
        for source in page.loaded
        if urllib.parse.urlsplit(source).netloc
    }
    assert not foreign


def test_links_to_elsewhere_are_well_formed(site):
    links = {link for page in site.values() for link in page.links}
    outside = {link for link in links if urllib.parse.urlsplit(link).scheme}
    assert any("arxiv.org" in link for link in outside)
    for link in outside:
        parts = urllib.parse.urlsplit(link)
        assert parts.scheme == "https", link
        assert re.fullmatch(r"[\w.-]+\.[a-z]+", parts.netloc), link
        if parts.netloc == "arxiv.org":
            assert re.fullmatch(r"/abs/\d{4}\.\d{4,5}", parts.path), link


def test_formulas_are_mathml(site):
    page = site["concepts/quantizers.html"]
    assert "math" in page.tags and "mfrac" in page.tags
    # What the converter does not know it writes as text, with its backslash.
    for name, page in site.items():
        for formula in re.findall(r"<math.*?</math>", page.text, re.DOTALL):
            assert "\\" not in formula, f"{name}: {formula}"
        assert 'class="arithmatex"' not in page.text, name


def test_the_reference_holds_every_public_name(site):
    shown = {name: page.text for name, page in site.items() if name.startswith("reference/")}
    for package in PACKAGES:
        module = importlib.import_module(package)
        prefix = {"mobilequant": "mq"}.get(package, package)
        for name in set(module.__all__) - {"__version__"}:
            value = f"{prefix}.{name}"
            wanted = (value, f"{package}.{name}")
            assert any(word in text for text in shown.values() for word in wanted), value


def test_builders_are_shown_with_their_whole_signature(site):
    page = site["reference/models.html"].text
    _, builder = page.split('id="mobilequant.models.mobilenet_v2.MobileNetV2"')
    builder = builder.split("<h2")[0]
    assert "width multiplier; the channels are rounded" in builder
    assert "stochastic_depth" in builder.split("</pre>")[0]


def test_examples_of_docstrings_are_code(site):
    page = site["reference/mobilequant.html"].text
    assert "Example:" not in page
    assert re.search(r"<pre>.*?sensitivity", page, re.DOTALL)


def test_results_and_commands_are_there(site):
    from mobilequant.cli.commands import COMMANDS

    commands = site["reference/commands.html"].text
    assert all(f"mobilequant {name}" in commands for name in COMMANDS)
    for readme in (ROOT / "benchmarks").glob("*/README.md"):
        assert f"results/{readme.parent.name}.html" in site
    assert "benchmarks/imagenet.py" in site["results/index.html"].text
