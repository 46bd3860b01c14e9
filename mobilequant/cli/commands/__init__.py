"""The subcommands, in the order in which a user meets them.

Each module has `HELP` (one line), `DESCRIPTION`, `EXAMPLES`, `add_arguments(parser)` and
`run(arguments)`. It imports TensorFlow, and what needs it, inside `run`.
"""

from mobilequant.cli.commands import (
    benchmark,
    calibrate,
    completion,
    convert,
    demo,
    inspect,
    metadata,
    models,
    pack,
    plan,
    predict,
    quantize,
    report,
    sensitivity,
    train,
    verify,
)

COMMANDS = {
    "models": models,
    "train": train,
    "quantize": quantize,
    "calibrate": calibrate,
    "sensitivity": sensitivity,
    "convert": convert,
    "verify": verify,
    "inspect": inspect,
    "pack": pack,
    "plan": plan,
    "metadata": metadata,
    "benchmark": benchmark,
    "predict": predict,
    "report": report,
    "demo": demo,
    "completion": completion,
}
