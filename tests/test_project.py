"""The documents of the project agree with the project."""

import ast
import pathlib
import re

import pytest
import yaml

import mobilequant

ROOT = pathlib.Path(__file__).parents[1]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_everywhere():
    version = mobilequant.__version__
    assert f'version="{version}"' in read("setup.py")
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    assert version in re.search(r"^## .*$", read("CHANGELOG.md"), re.MULTILINE)[0]


def test_the_citation_has_what_readers_of_the_format_need():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["authors"]
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2409.09245"


@pytest.mark.parametrize("package", ["mobilequant", ""])
def test_the_map_of_rooms_has_every_folder(package):
    folders = [
        path.name
        for path in (ROOT / package).iterdir()
        if path.is_dir() and not path.name.startswith((".", "_"))
    ]
    text = read("CONTRIBUTING.md")
    ignored = {"build", "runs"}
    missing = {name for name in folders if f"{name}/" not in text} - ignored
    missing = {name for name in missing if not name.endswith(".egg-info")}
    assert not missing, f"CONTRIBUTING.md does not say what these folders are for: {missing}"


def test_every_extra_is_explained_once():
    (extras,) = [
        keyword.value
        for node in ast.walk(ast.parse(read("setup.py")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "extras_require"
    ]
    rows = [line for line in read("docs/guide/installation.md").splitlines() if line[:2] == "| "]
    for extra in (key.value for key in extras.keys):
        assert sum(f"`{extra}`" in row.split("|")[1] for row in rows) == 1, extra


def test_files_that_the_documents_name_exist():
    for name in ("CONTRIBUTING.md", "README.md"):
        for path in re.findall(r"`((?:mobilequant|tflite_tools|tests|docs)/[\w./]+)`", read(name)):
            if "NAME" not in path:
                assert (ROOT / path).exists(), f"{name}: {path}"


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("benchmarks/**/*.md"))),
    ],
)
def test_links_inside_the_repository_lead_somewhere(name):
    """Those of docs/ are checked when the site is built."""
    folder = (ROOT / name).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", read(name)):
        if not link.startswith(("https://", "#")):
            assert (folder / link.split("#")[0]).exists(), f"{name}: {link}"
