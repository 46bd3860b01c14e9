"""Recipes for `fit`: callbacks and schedules."""

from mobilequant.training.callbacks import FreezeAt, QuantizeFrom
from mobilequant.training.monitor import QuantizationMonitor

__all__ = ["FreezeAt", "QuantizationMonitor", "QuantizeFrom"]
