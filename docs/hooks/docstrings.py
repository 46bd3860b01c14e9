"""Docstrings as the reference shows them: examples as code, builders with their whole signature.

An extension of griffe, which reads the sources without running them.
"""

import importlib
import inspect
import re
import textwrap

import griffe

#: An "Example:" section, which the house style fills with indented code.
_EXAMPLE = re.compile(r"^Example:\n(?P<code>(?:[ ]{4}.*(?:\n|\Z)|[ ]*\n)+)", re.MULTILINE)

#: A "Methods:" section, which griffe would take for functions; here it is ways to do something.
_METHODS = re.compile(r"^Methods:\n(?P<items>(?:[ ]{4}.*\n)+)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Changes docstrings and signatures before mkdocstrings shows them."""

    def on_function(self, *, func, **kwargs):
        """Takes what is made when the module is imported from there: `garden_model` writes it."""
        if any("garden_model" in str(decorator.value) for decorator in func.decorators):
            builder = getattr(importlib.import_module(func.module.path), func.name)
            func.docstring = griffe.Docstring(inspect.getdoc(builder), parent=func)
            func.parameters = griffe.Parameters(
                *(_parameter(p) for p in inspect.signature(builder).parameters.values())
            )
            func.returns = "keras.Model"

    def on_object(self, *, obj, **kwargs):
        """Fences the code of examples, and makes a list of methods."""
        if obj.docstring:
            text = _EXAMPLE.sub(_fenced, obj.docstring.value)
            obj.docstring.value = _METHODS.sub(_listed, text)


def _fenced(match):
    code = textwrap.dedent(match["code"]).strip("\n")
    return f"**Example**\n\n```python\n{code}\n```\n"


def _listed(match):
    items = re.sub(r"^(?=\S)", "- ", textwrap.dedent(match["items"]), flags=re.MULTILINE)
    return f"**Methods**\n\n{items}"


def _parameter(parameter):
    default = None if parameter.default is parameter.empty else repr(parameter.default)
    kinds = {
        parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
        parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
    }
    return griffe.Parameter(parameter.name, kind=kinds[parameter.kind], default=default)
