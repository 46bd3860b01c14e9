"""mobilequant: quantize Keras 3 vision models, train them, and know what the device computes."""

from mobilequant import layers, models, training
from mobilequant.quantize import (
    Recipe,
    Rule,
    calibrate,
    freeze,
    quantize,
    register_rule,
    set_phase,
)
from mobilequant.quantizers import Scheme

__version__ = "0.1.0"

__all__ = [
    "Recipe",
    "Rule",
    "Scheme",
    "__version__",
    "calibrate",
    "freeze",
    "layers",
    "models",
    "quantize",
    "register_rule",
    "set_phase",
    "training",
]
