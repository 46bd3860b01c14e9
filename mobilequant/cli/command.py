"""`main`: the parser of all subcommands, and what becomes of errors and of ctrl-C."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

from mobilequant.cli import commands
from mobilequant.cli.errors import ContractBroken, UsageError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

DESCRIPTION = "Quantize Keras 3 models for phones and Edge TPUs, and verify the .tflite file."

EXAMPLES = """\
a whole line of work, from nothing to a file for a phone:
  mobilequant train --data cifar10 --image-size 32 --early-strides 1 1 -o float.keras
  mobilequant quantize float.keras --target phone -o q.keras
  mobilequant train --model q.keras --data cifar10 --epochs 5 --learning-rate 2e-4 -o tuned.keras
  mobilequant convert tuned.keras -o tuned.tflite
  mobilequant verify tuned.keras tuned.tflite --data cifar10
  mobilequant benchmark tuned.tflite

the same in three minutes, on scanned digits that need no download:
  mobilequant demo

exit codes: 0 done, 1 a file does not keep what it must (verify, report, plan --require-all),
2 an error, 130 ctrl-C"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: The arguments after the program's name; by default those of the process.

    Returns:
        The exit code: 0 for success, 1 where `verify` found a difference or `plan --require-all`
        an operator on the CPU, 2 for an error (one line on stderr names it), 130 after ctrl-C.
    """
    # TensorFlow reads it once, when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        arguments = make_parser().parse_args(argv)
    except SystemExit as exit_:  # argparse's way out of --help and of wrong usage
        return exit_.code or 0
    try:
        arguments.run(arguments)
    except ContractBroken as broken:
        _say(str(broken))
        return 1
    except KeyboardInterrupt as interrupt:
        _say(f"interrupted{f'; {interrupt}' if str(interrupt) else ''}")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except Exception as error:
        if arguments.debug:
            raise
        _say(f"error: {_one_line(error)}")
        return EXIT_ERROR
    return 0


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one line as well."""

    def error(self, message):
        _say(f"error: {message} (see {self.prog} --help)")
        raise SystemExit(EXIT_ERROR)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command, with one subparser a subcommand."""
    parser = _Parser(
        prog="mobilequant",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=f"examples:\n{command.EXAMPLES}",
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        command.add_arguments(subparser)
        subparser.add_argument(
            "--debug", action="store_true", help="show the traceback of an error"
        )
        subparser.set_defaults(run=command.run, command=name)
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions and examples as they are written, in lines of 100 characters."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=26, width=100)

    def add_argument(self, action):
        """Leaves room for the longest subcommand, which argparse forgets to indent."""
        super().add_argument(action)
        if action.nargs == argparse.PARSER:
            self._action_max_length += self._indent_increment


def _version() -> str:
    from importlib import metadata

    try:
        return f"mobilequant {metadata.version('mobilequant')}"
    except metadata.PackageNotFoundError:
        return "mobilequant (not installed)"


def _say(text: str) -> None:
    print(f"mobilequant: {text}", file=sys.stderr, flush=True)


def _one_line(error: Exception) -> str:
    message = getattr(error, "message", None) if _is_tensorflows(error) else None
    if message:
        # What a pipeline raised lies inside, with a traceback of its own.
        inner = re.search(r"^(?:.*\b)?\w+Error: (.+)$", message, re.MULTILINE)
        message = inner[1] if inner else message.strip().splitlines()[0]
    text = message or " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    expected = (UsageError, ValueError, TypeError, OSError, RuntimeError)
    if text and (message or isinstance(error, expected)):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"


def _is_tensorflows(error: Exception) -> bool:
    return type(error).__module__.startswith("tensorflow.")
