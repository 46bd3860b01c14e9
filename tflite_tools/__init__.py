"""tflite_tools: a quantized Keras model in, a verified `.tflite` file out."""

from tflite_tools.benchmarking import Benchmark, benchmark
from tflite_tools.conversion import Report, convert
from tflite_tools.detection import DetectionPostProcess
from tflite_tools.errors import ConversionError, InvalidModelError
from tflite_tools.inspection import Inspection, inspect
from tflite_tools.verification import Verification, verify

__all__ = [
    "Benchmark",
    "ConversionError",
    "DetectionPostProcess",
    "Inspection",
    "InvalidModelError",
    "Report",
    "Verification",
    "benchmark",
    "convert",
    "inspect",
    "verify",
]
