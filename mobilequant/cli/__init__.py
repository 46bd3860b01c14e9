"""The command `mobilequant`: `commands/` has one file a subcommand, the rest is what they share.

Nothing here imports TensorFlow before a command has checked what it can without it.
"""

from mobilequant.cli.command import main

__all__ = ["main"]
