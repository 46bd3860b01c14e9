"""The pages of results: the READMEs of benchmarks/, whose figures `benchmarks/readme.py` writes."""

import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"

#: Titles of pages in the navigation; others are called like their folder.
TITLES = {"lowbit": "Low precision", "zoo": "The zoo"}

_LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]+)\)")


def on_files(files, config, **kwargs):
    """Adds the pages, their pictures, and their entries in the navigation."""
    pages = {"index.md": (BENCHMARKS / "README.md").read_text(encoding="utf-8")}
    for readme in sorted(BENCHMARKS.glob("*/README.md")):
        pages[f"{readme.parent.name}.md"] = readme.read_text(encoding="utf-8")
    for name, text in pages.items():
        files.append(File.generated(config, f"results/{name}", content=_LINK.sub(_here, text)))
    for picture in sorted((BENCHMARKS / "results").glob("*.png")):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    entries = ["results/index.md"]
    for name in pages:
        if name != "index.md":
            stem = name.removesuffix(".md")
            entries.append({TITLES.get(stem, stem.capitalize()): f"results/{name}"})
    _set_section(config.nav, "Results", entries)
    return files


def _here(match):
    """A link of a document in the repository, as it is on these pages."""
    path = pathlib.PurePosixPath(match["path"])
    if path.suffix == ".png":
        return f"]({path.name})"
    if path.name == "README.md":
        return f"]({path.parent.name}.md)"
    return match[0]


def _set_section(nav, title, entries):
    for item in nav:
        if title in item:
            item[title] = entries
