"""`python -m mobilequant.cli` is the command `mobilequant`."""

import sys

from mobilequant.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
