"""mobilequant: quantize Keras 3 vision models, train them, and know what the device computes."""

import sys
from pathlib import Path


def _is_the_command() -> bool:
    """Whether this process is `mobilequant …` or `python -m mobilequant.cli …`.

    The command answers `--help` and wrong usage without TensorFlow, which takes seconds to
    import and writes to stderr; it imports what it needs itself, quietly.
    """
    program = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return program == "mobilequant" or (program == "-m" and "mobilequant.cli" in sys.orig_argv)


if not _is_the_command():
    from mobilequant import layers, models, training
    from mobilequant.quantize import (
        Recipe,
        Rule,
        Unsupported,
        calibrate,
        clone_layer,
        freeze,
        quantize,
        reconstruct,
        register_rule,
        sensitivity,
        set_phase,
    )
    from mobilequant.quantizers import Scheme
    from mobilequant.tfmot import from_tfmot

__version__ = "0.1.0"

__all__ = [
    "Recipe",
    "Rule",
    "Scheme",
    "Unsupported",
    "__version__",
    "calibrate",
    "clone_layer",
    "freeze",
    "from_tfmot",
    "layers",
    "models",
    "quantize",
    "reconstruct",
    "register_rule",
    "sensitivity",
    "set_phase",
    "training",
]
