"""The phase of a quantized model: float, quantized, frozen."""

from __future__ import annotations

import contextlib

from keras import ops

from mobilequant.layers.activation_quantizer import FLOAT, FROZEN, QUANTIZED
from mobilequant.layers.base import QuantizedLayer

PHASES = {"float": FLOAT, "quantized": QUANTIZED, "frozen": FROZEN}


def quantized_layers(model) -> list[QuantizedLayer]:
    """All quantized layers of a model, in order."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, QuantizedLayer)]


def set_phase(qmodel, phase: str):
    """Sets what a quantized model does, at once and without recompiling it.

    Args:
        qmodel: What `quantize` returned.
        phase: "float" (as the float model; ranges follow), "quantized" (ranges and batch
            normalization follow the batches), or "frozen" (both stay as they are and only
            weights train).

    Raises:
        ValueError: An unknown phase, or a model that is not quantized; "frozen" without ranges.
    """
    if phase not in PHASES:
        raise ValueError(f"Unknown phase {phase!r}; one of {', '.join(PHASES)}.")
    members = quantized_layers(qmodel)
    if not members:
        raise ValueError(f"Model {qmodel.name!r} is not quantized.")
    if phase == "frozen":
        unknown = [
            layer.name for layer in members if not all(q.calibrated for q in layer.quantizers)
        ]
        if unknown:
            raise ValueError(
                f"Layer {unknown[0]!r} has no range to freeze; train or calibrate the model first."
            )
    assign_phase(members, phase)


@contextlib.contextmanager
def keeping_phases(members):
    """Puts the phases of quantized layers back at the end."""
    phases = [
        (quantizer.phase, int(ops.convert_to_numpy(quantizer.phase)))
        for layer in members
        for quantizer in layer.quantizers
    ]
    try:
        yield
    finally:
        for variable, phase in phases:
            variable.assign(phase)


def assign_phase(members, phase: str):
    """Switches quantized layers, whether or not they have ranges."""
    for layer in members:
        for quantizer in layer.quantizers:
            quantizer.phase.assign(PHASES[phase])
