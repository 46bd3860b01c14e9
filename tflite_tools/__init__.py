"""tflite_tools: a quantized Keras model in, a verified `.tflite` file out.

What is listed here is imported when it is first used: a tool that only reads files starts
without TensorFlow and Keras.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tflite_tools import edgetpu, metadata
    from tflite_tools.benchmark_report import Benchmark
    from tflite_tools.benchmarking import benchmark
    from tflite_tools.comparison import compare
    from tflite_tools.comparison_report import FileComparison
    from tflite_tools.conversion import Report, convert
    from tflite_tools.detection import DetectionPostProcess
    from tflite_tools.device_benchmark import benchmark_on_device
    from tflite_tools.errors import ConversionError, InvalidModelError
    from tflite_tools.inspection import Inspection, inspect
    from tflite_tools.packing import Packing, pack
    from tflite_tools.reporting import ReportPage, report
    from tflite_tools.verification import Verification, verify

__all__ = [
    "Benchmark",
    "ConversionError",
    "DetectionPostProcess",
    "FileComparison",
    "Inspection",
    "InvalidModelError",
    "Packing",
    "Report",
    "ReportPage",
    "Verification",
    "benchmark",
    "benchmark_on_device",
    "compare",
    "convert",
    "edgetpu",
    "inspect",
    "metadata",
    "pack",
    "report",
    "verify",
]

#: The module of each public name; a test holds the three lists together.
_MODULES = {
    "Benchmark": "benchmark_report",
    "ConversionError": "errors",
    "DetectionPostProcess": "detection",
    "FileComparison": "comparison_report",
    "Inspection": "inspection",
    "InvalidModelError": "errors",
    "Packing": "packing",
    "Report": "conversion",
    "ReportPage": "reporting",
    "Verification": "verification",
    "benchmark": "benchmarking",
    "benchmark_on_device": "device_benchmark",
    "compare": "comparison",
    "convert": "conversion",
    "edgetpu": "edgetpu",
    "inspect": "inspection",
    "metadata": "metadata",
    "pack": "packing",
    "report": "reporting",
    "verify": "verification",
}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = module if name == _MODULES[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
