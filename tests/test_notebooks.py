"""The notebooks run from top to bottom, and are committed as a good run left them."""

import json
import pathlib
import re

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

#: Those that take other data where the development folder is missing.
WITH_STAND_INS = ("02_finetune_mobilenetv4", "04_segmentation", "05_detection")

#: Readers download them, and diffs show them.
MOST_BYTES = 700_000

by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def run(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Executes a notebook in a folder; a cell that fails raises its error."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=resources).execute()


@pytest.fixture
def kernel(monkeypatch):
    """The kernel, a process of its own, imports the checkout."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@by_name
def test_runs(path, kernel, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEQUANT_SHARED", str(shared))
    run(path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_STAND_INS)
def test_runs_without_the_development_folder(name, kernel, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEQUANT_SHARED", str(tmp_path / "nothing"))
    run(ROOT / "notebooks" / f"{name}.ipynb", tmp_path)


@by_name
def test_is_committed_as_it_ran(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
    assert path.stat().st_size < MOST_BYTES


@by_name
def test_names_no_place_of_one_machine(path):
    found = re.findall(r"/(?:home|work|tmp|root|Users)/\S*", path.read_text(encoding="utf-8"))
    assert found == []


@by_name
def test_reads_as_a_text(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert "".join(cells[0]["source"]).startswith("# ")
    assert "".join(cells[-1]["source"]).startswith("## From here")
    lengths = [len(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert max(lengths) <= 45, "cells of so many lines are hard to follow: split them"


def test_the_readme_lists_them():
    listed = re.findall(r"notebooks/(\w+)\.ipynb", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert sorted(set(listed)) == [path.stem for path in NOTEBOOKS]


def test_links_lead_to_notebooks_that_exist():
    names = {path.name for path in NOTEBOOKS}
    for path in NOTEBOOKS:
        named = set(re.findall(r"`(\w+\.ipynb)`", path.read_text(encoding="utf-8")))
        assert named <= names, path.name
