"""What a `.tflite` file does on Coral's Edge TPU, before it is compiled."""

from tflite_tools.edgetpu.compiler import Compilation, CompilerError
from tflite_tools.edgetpu.planning import plan, plan_model
from tflite_tools.edgetpu.report import Cause, Decision, Plan

__all__ = [
    "Cause",
    "Compilation",
    "CompilerError",
    "Decision",
    "Plan",
    "plan",
    "plan_model",
]
