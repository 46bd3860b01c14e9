"""`mobilequant completion`: the script that teaches a shell to complete this command."""

from __future__ import annotations

import argparse

HELP = "print the script that makes a shell complete commands and options"

DESCRIPTION = """\
Prints a script for your shell: with it the tab key completes subcommands, options, their choices,
and the names of files. Load it once for this shell, or keep it where the shell looks."""

EXAMPLES = """\
  source <(mobilequant completion bash)       # now; put it into ~/.bashrc for always
  mobilequant completion zsh > "${fpath[1]}/_mobilequant"
  mobilequant completion fish > ~/.config/fish/completions/mobilequant.fish"""

SHELLS = ("bash", "zsh", "fish")

#: What stands for a path in the parsers' metavariables.
_FILES = ("FILE", "IMAGE", "MODEL", "TXT", "LIBRARY", "BINARY", ".keras", ".tflite", ".html")
_FOLDERS = ("DIR", "FOLDER")


def add_arguments(parser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to read the script")


def run(arguments) -> None:
    """Prints the script."""
    from mobilequant.cli.command import make_parser

    print(script(make_parser(), arguments.shell))


def script(parser, shell: str) -> str:
    """The completion script of a parser.

    Args:
        parser: An `argparse.ArgumentParser`; its arguments are marked with what completes them.
        shell: One of `SHELLS`.
    """
    import shtab

    for action in _actions(parser):
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if action.choices:
            continue
        if metavar.endswith(_FILES):
            action.complete = shtab.FILE
        elif metavar.endswith(_FOLDERS) or "--data" in action.option_strings:
            # A data set may be a folder.
            action.complete = shtab.DIRECTORY
    return shtab.complete(parser, shell)


def _actions(parser):
    """The arguments of a parser and of its subparsers."""
    for action in parser._actions:
        if action.nargs == argparse.PARSER:
            for subparser in action.choices.values():
                yield from _actions(subparser)
        else:
            yield action
