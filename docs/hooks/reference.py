"""The reference: a page for each public package with all of its `__all__`, and one of commands."""

import argparse
import importlib
import inspect
import os
import types

from mkdocs.structure.files import File

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: Page: its title, and the packages whose public names it holds.
PAGES = {
    "mobilequant": ("mobilequant", ["mobilequant"]),
    "tflite_tools": ("tflite_tools", ["tflite_tools"]),
    "models": ("mobilequant.models", ["mobilequant.models"]),
    "layers": ("mobilequant.layers", ["mobilequant.layers"]),
    "quantizers": ("mobilequant.quantizers", ["mobilequant.quantizers"]),
    "training": ("mobilequant.training", ["mobilequant.training"]),
    "data": ("mobilequant.data", ["mobilequant.data"]),
    "tasks": (
        "mobilequant.tasks",
        ["mobilequant.tasks.detection", "mobilequant.tasks.metrics"],
    ),
    "integer": ("mobilequant.integer", ["mobilequant.integer"]),
}

#: As users write them.
ALIASES = {"mobilequant": "mq"}

_NOT_SHOWN = ("__version__",)


def on_files(files, config, **kwargs):
    """Adds the pages and their entries in the navigation."""
    pages = {"index": _index(), "commands": _commands()}
    shown = {}
    for name, (title, packages) in PAGES.items():
        texts = [_package(package, f"{name}.md", shown) for package in packages]
        pages[name] = "\n".join([f"# {title}\n", *texts])
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    entries = ["reference/index.md", {"The command": "reference/commands.md"}]
    entries += [{title: f"reference/{name}.md"} for name, (title, _) in PAGES.items()]
    for item in config.nav:
        if "Reference" in item:
            item["Reference"] = entries
    return files


def _index() -> str:
    lines = [
        "# Reference\n",
        "Made from the docstrings and from the command's own `--help`.\n",
        "| page | what |",
        "| --- | --- |",
        "| [The command](commands.md) | `mobilequant` and its subcommands |",
    ]
    for name, (title, packages) in PAGES.items():
        said = " ".join(_summary(importlib.import_module(package)) for package in packages)
        lines.append(f"| [{title}]({name}.md) | {said} |")
    return "\n".join(lines) + "\n"


def _summary(module) -> str:
    first = inspect.getdoc(module).splitlines()[0]
    return first.split(": ", 1)[1].capitalize() if first.startswith(module.__name__) else first


def _package(package: str, page: str, shown: dict) -> str:
    """The public names of a package, each as a directive of mkdocstrings.

    What is public in two packages is documented on the page that comes first, and `shown` tells
    where.
    """
    module = importlib.import_module(package)
    constants, parts = [], [_prose(module)]
    prefix = ALIASES.get(package, package)
    # What is called comes first, what it returns behind.
    for name in sorted(module.__all__, key=lambda name: (name[0].isupper(), name.lower())):
        value = getattr(module, name)
        if name in _NOT_SHOWN:
            continue
        if isinstance(value, types.ModuleType):
            parts.append(_part(value, page, shown))
        elif callable(value) and hasattr(value, "__qualname__"):
            parts.append(_object(value, f"{prefix}.{name}", page, shown))
        else:
            constants.append(f"| `{prefix}.{name}` | {_shown(value)} |")
    if constants:
        parts.append("\n".join(["## Constants\n", "| name | value |", "| --- | --- |", *constants]))
    return "\n\n".join(parts) + "\n"


def _part(module, page: str, shown: dict) -> str:
    """A public module inside a package: a link to its page, or its names where it has none."""
    for name, (_, packages) in PAGES.items():
        if module.__name__ in packages:
            return f"## {module.__name__}\n\n[On a page of its own]({name}.md).\n"
    if hasattr(module, "__all__"):
        return _package(module.__name__, page, shown)
    return f"## {module.__name__}\n\n{_prose(module)}\n"


def _prose(module) -> str:
    return inspect.getdoc(module) or ""


def _object(value, name: str, page: str, shown: dict) -> str:
    """A function or class, under the name that users write."""
    path = f"{value.__module__}.{value.__qualname__}"
    if path in shown:
        return f"## {name}\n\n[Documented here]({shown[path]}#{path}).\n"
    shown[path] = page
    label = name.rsplit(".", 1)[1]
    return f"::: {path}\n    options:\n      heading: {name}\n      toc_label: {label}\n"


def _shown(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"`{key}`" for key in value)
    return f"`{value!r}`".replace("|", "\\|")


def _commands() -> str:
    """What `--help` prints, of the command and of each subcommand."""
    from mobilequant.cli.command import make_parser

    parser = make_parser()
    parts = [
        "# The command\n\nWhat `mobilequant --help` and `mobilequant COMMAND --help` print.",
        f"```text\n{parser.format_help()}```",
    ]
    subparsers = next(action for action in parser._actions if action.nargs == argparse.PARSER)
    for name, subparser in subparsers.choices.items():
        parts.append(f"## mobilequant {name}\n\n```text\n{subparser.format_help()}```")
    return "\n\n".join(parts) + "\n"
