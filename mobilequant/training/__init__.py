"""Recipes for `fit`: callbacks and schedules."""

from mobilequant.training.callbacks import FreezeAt, QuantizeFrom

__all__ = ["FreezeAt", "QuantizeFrom"]
