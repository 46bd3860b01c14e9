"""Turns a float Keras graph into a quantized one, calibrates it, and freezes it."""

from mobilequant.quantize.calibration import calibrate
from mobilequant.quantize.freezing import freeze
from mobilequant.quantize.inference import infer_integers, infer_tensors
from mobilequant.quantize.recipe import Recipe
from mobilequant.quantize.reconstruction import reconstruct
from mobilequant.quantize.rules import Rule, Unsupported, clone_layer, register_rule
from mobilequant.quantize.sensitivity import sensitivity
from mobilequant.quantize.sensitivity_report import LayerCost, Sensitivity
from mobilequant.quantize.state import set_phase
from mobilequant.quantize.transform import quantize

__all__ = [
    "LayerCost",
    "Recipe",
    "Rule",
    "Sensitivity",
    "Unsupported",
    "calibrate",
    "clone_layer",
    "freeze",
    "infer_integers",
    "infer_tensors",
    "quantize",
    "reconstruct",
    "register_rule",
    "sensitivity",
    "set_phase",
]
