"""Formulas become MathML while the site is built: browsers show it without any script."""

import html
import re

from latex2mathml.converter import convert

#: What pymdownx.arithmatex makes of $…$ and $$…$$.
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def on_page_content(text, page, **kwargs):
    """Puts MathML where arithmatex left LaTeX."""
    return _FORMULA.sub(_mathml, text)


def _mathml(match):
    display = "block" if match["tag"] == "div" else "inline"
    return convert(html.unescape(match["latex"]).strip(), display=display)
