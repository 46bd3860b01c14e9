"""Gives the quantizers of a model the ranges that TFMOT found."""

from __future__ import annotations

import math

import keras
import numpy as np

from mobilequant.layers import FoldedLayer, QuantizedInput, QuantizedLayer
from mobilequant.layers.moving import MOVING, TRAINING_ONLY
from mobilequant.quantize.graph import ModelGraph
from mobilequant.quantizers import affine_grid, integer_limits
from mobilequant.quantizers.linear import SMALLEST_RANGE

#: Layers behind which TFMOT has the range of a tensor that it does not round itself: they become
#: part of the operator before them, or take all their inputs on one grid.
_PASSED = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Concatenate,
    keras.layers.ReLU,
    *MOVING,
    *TRAINING_ONLY,
)

#: Batches that moving averages count as seen: enough to follow slowly from now on.
_SEEN = 1000.0


def set_ranges(qmodel, reading):
    """Sets the range of every quantizer.

    Args:
        qmodel: `reading.model`, quantized.
        reading: What `rebuild` gave.

    Raises:
        ValueError: Tensors for which TFMOT has no range.
    """
    find = _Ranges(reading)
    missing = []
    for call in ModelGraph(qmodel).calls:
        layer = call.layer
        if not isinstance(layer, QuantizedLayer):
            continue
        if isinstance(layer, FoldedLayer):
            largest = reading.weights.get(layer.layer.name)
            _set_weight_range(layer.weight_quantizer, largest, missing, layer.name)
        if layer.keeps_grid or not layer.output_quantizer.quantizing:
            continue
        name = layer.name
        if isinstance(layer, QuantizedInput):
            name = call.inputs[0]._keras_history.operation.name
        ends = find(name)
        if ends is None:
            missing.append(f"what {name!r} gives")
        else:
            layer.output_quantizer.range.assign(nudged(*ends))
            layer.output_quantizer.observed.assign(_SEEN)
    if missing:
        raise ValueError(
            f"Model {qmodel.name!r}: TFMOT has no range for {', '.join(missing)}: it leaves these "
            "in float, in its own file as well. Quantize the whole model with quantize_model; or "
            "rebuild it in Keras 3 and quantize it with mobilequant.quantize."
        )


def nudged(low, high, bits=8) -> np.ndarray:
    """The range whose grid in ours is that of TFLite's converter, as far as float32 has it.

    The converter computes in double precision: scale = (high − low) / 255, and the zero point
    nearest to where that puts real 0.

    Args:
        low, high: The range as TFMOT has it.
        bits: Bits of the integers.
    """
    smallest, largest = integer_limits(bits)
    low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        return np.zeros(2, "float32")
    exact = (high - low) / (largest - smallest)
    scale = np.float32(exact)
    zero_point = np.clip(np.floor(smallest - low / exact + 0.5), smallest, largest)
    # Ours takes the width times a rounded 1/255: the neighbour for which that is the very scale.
    width = np.float32(scale * (largest - smallest))
    neighbours = [width, np.nextafter(width, np.float32(0)), np.nextafter(width, np.float32(1e38))]
    width = next((w for w in neighbours if float(affine_grid(0.0, w, bits)[0]) == scale), width)
    # In units of the width's last place, so that the ends are exactly as far apart.
    unit = float(np.spacing(width))
    low = round((smallest - zero_point) * float(scale) / unit) * unit
    return np.array([low, low + float(width)], "float32")


class _Ranges:
    """Finds the range of a layer's output, by name."""

    def __init__(self, reading):
        self._known = reading.activations
        self._graph = ModelGraph(reading.model)
        self._calls = {call.name: call for call in self._graph.calls}
        self._inputs = {t._keras_history.operation.name: t for t in self._graph.inputs}

    def __call__(self, name):
        """Its own range, or that of what follows on the same grid; None if there is none."""
        if name in self._known:
            return self._known[name]
        for call in self._following(name):
            ends = self(call.name) if isinstance(call.layer, _PASSED) else None
            if ends is not None:
                return ends
        return None

    def _following(self, name):
        if name in self._inputs:
            return self._graph.users(self._inputs[name])
        if name in self._calls:
            return self._graph.consumers(self._calls[name])
        return []


def _set_weight_range(quantizer, largest, missing, name):
    if largest is None:
        missing.append(f"the weights of {name!r}")
        return
    # A kernel of one scale, or (depthwise) of one a multiplier, for every channel alike.
    count = math.prod(quantizer.unit.shape)
    scales = np.resize(np.asarray(largest, "float64") / quantizer.largest, count)
    units = _units(np.maximum(scales, SMALLEST_RANGE).astype("float32"), quantizer.largest)
    quantizer.unit.assign(units.reshape(quantizer.unit.shape))


def _units(scales, largest):
    """What `WeightQuantizer` makes these very scales of: it multiplies by 127 and by 1/127."""
    found = scales
    inverse = np.float32(1 / largest)
    below = above = scales
    for _ in range(3):
        below, above = np.nextafter(below, -np.inf), np.nextafter(above, np.inf)
        for units in (below, above):
            missed = found * np.float32(largest) * inverse != scales
            hit = units * np.float32(largest) * inverse == scales
            found = np.where(missed & hit, units, found)
    return found
