"""One HTML page about a converted model: `content` goes in, `page` gathers, `sections` words it."""

from tflite_tools.reporting.content import Example, Measure, View
from tflite_tools.reporting.page import ReportPage, report

__all__ = ["Example", "Measure", "ReportPage", "View", "report"]
