"""Every block of Python in docs/ runs, page by page, one namespace a page.

Pages show what a user would write. Here the same code runs on less: one epoch, few images, small
ones, and eagerly, because tracing a graph costs more than it saves on so little.

A block is left out where an HTML comment before it says `not run`, and why.
"""

import pathlib
import re
import sys
import textwrap

import matplotlib
import pytest

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"

#: What becomes smaller, as (pattern, replacement).
SMALLER = (
    (r"epochs=\d+", "epochs=1"),
    (r"steps=\d+", "steps=1"),
    (r"jit_compile=False", "jit_compile=False, run_eagerly=True"),
    (r'load_classification\("digits", ', 'load_classification("digits", limit=32, '),
    (r'load_segmentation\("./streets", image_size=\(240, 320\)', "{segmentation}(64, 96)"),
    (r'load_detection\("./street", image_size=320', "{detection}64"),
)
_FOLDERS = {
    "segmentation": 'load_segmentation("./streets", batch_size=2, image_size=',
    "detection": 'load_detection("./street", batch_size=2, image_size=',
}

_BLOCK = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\n)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)

PAGES = [*sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")), "../README.md"]

#: Pages that take minutes even so; and one with the example of README.md.
SLOW = ("index.md", "guide/detection.md", "guide/models.md", "guide/segmentation.md")


def blocks(page):
    """(line, code) of each block of a page that is to run; blank lines keep the numbers right."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        if not match["skip"]:
            line = text.count("\n", 0, match.start("code"))
            yield line, textwrap.dedent(match["code"])


def smaller(code):
    for pattern, replacement in SMALLER:
        code = re.sub(pattern, replacement.format(**_FOLDERS), code)
    return code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory with the folders of images that pages speak of."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "mobilequant" / "data")
    from dense_folders import voc_folder, voc_masks

    voc_masks(tmp_path / "streets")
    voc_folder(tmp_path / "street")
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])
        for page in PAGES
        if list(blocks(page))
    ],
)
def test_code_runs(page, folder):
    namespace = {"__name__": page}
    # Classes of a page are registered with Keras and named after its module.
    sys.modules[page] = type(sys)(page)
    try:
        for line, code in blocks(page):
            source = compile("\n" * line + smaller(code), str(DOCS / page), "exec")
            exec(source, namespace)
    finally:
        del sys.modules[page]


def test_few_blocks_are_left_out():
    left_out = [
        page
        for page in PAGES
        for match in _BLOCK.finditer((DOCS / page).read_text(encoding="utf-8"))
        if match["skip"]
    ]
    assert len(left_out) <= 2, left_out


def test_pages_of_tasks_are_made_smaller():
    """A page that is rewritten must not silently train for an hour here."""
    assert "batch_size=2" in smaller("\n".join(code for _, code in blocks("guide/detection.md")))
    assert "batch_size=2" in smaller("\n".join(code for _, code in blocks("guide/segmentation.md")))
    assert "limit=32" in smaller("\n".join(c for _, c in blocks("guide/classification.md")))
