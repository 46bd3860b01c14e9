"""From what `report` found to HTML, by the templates in this folder."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

import jinja2
from markupsafe import Markup

from tflite_tools.reporting import charts, sections
from tflite_tools.reporting.content import media_type


def render(page) -> str:
    """The page of a `ReportPage`.

    Names in a file may hold anything, HTML as well. All text is escaped, and should something
    slip through, a content security policy keeps it from running: the only script is the page's
    own, known by its hash, and nothing is loaded from anywhere.
    """
    script = _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=sections.build(page),
            families=charts.FAMILIES,
            style=Markup(_text("page.css")),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["data_uri"] = _data_uri
    return environment


def _printable(value):
    """Text without control characters and halves of characters, which UTF-8 does not have."""
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return value


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line behind what joins its parts."""
    parts = re.split(r"(?<=[_/])", _printable(name))
    return Markup("<wbr>").join(parts)


def _data_uri(picture: bytes) -> str:
    return f"data:{media_type(picture)};base64,{base64.b64encode(picture).decode()}"


def _text(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text("utf-8")
