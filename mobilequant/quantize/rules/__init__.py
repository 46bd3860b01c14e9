"""One rule a layer kind: how a stock layer, with those it absorbs, becomes a quantized one.

Supporting a layer is one small `Rule` and its registration, never an edit of what runs the rules.
"""

# Importing a module registers its rules.
from mobilequant.quantize.rules import (  # noqa: F401
    attention,
    constants,
    elementwise,
    moving,
    normalization,
    operations,
    pooling,
)
from mobilequant.quantize.rules.registry import (
    Context,
    Rule,
    Unsupported,
    clone_layer,
    find_rule,
    register_rule,
)

__all__ = ["Context", "Rule", "Unsupported", "clone_layer", "find_rule", "register_rule"]
