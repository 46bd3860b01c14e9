"""Reads one layer of a TFMOT model: the layer inside its wrapper, weights and ranges.

TFMOT's classes are told by their names, and a wrapper's variables by theirs: nothing here needs
TFMOT itself.
"""

from __future__ import annotations

import dataclasses

import numpy as np

#: Quantizers that hold a range, and differ in how training moves it.
_RANGED = ("LastValueQuantizer", "MovingAverageQuantizer", "AllValuesQuantizer")

#: Range that TFMOT's variables of weights start from.
INITIAL = 6.0


class Refused(Exception):
    """A layer cannot be taken over; the message says why and what to do."""


@dataclasses.dataclass
class Unwrapped:
    """What a layer of a TFMOT model holds.

    Attributes:
        layer: The tf_keras layer; of one that quantizes and does nothing else, None.
        weights: Its arrays, by name ("kernel", "bias", "moving_mean", …).
        activation: Name of its activation; None if it has none to speak of.
        before: Range (low, high) before that activation, or None.
        after: Range of the output, or None.
        largest: Largest magnitude of the quantized kernel, one or one a channel, or None.
    """

    layer: object | None
    weights: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    activation: str | None = None
    before: tuple[float, float] | None = None
    after: tuple[float, float] | None = None
    largest: np.ndarray | None = None


def is_a(thing, *names) -> bool:
    """Whether a class of one of these names is among the classes of a thing."""
    return any(kind.__name__ in names for kind in type(thing).__mro__)


def unwrap(layer) -> Unwrapped:
    """Reads a layer.

    Args:
        layer: A layer of a TFMOT model: `QuantizeLayer`, `QuantizeWrapper`, or a plain one.

    Raises:
        Refused: It is not quantized as the default 8-bit scheme does.
    """
    if is_a(layer, "QuantizeAnnotate"):
        raise Refused("is only marked for quantization; call quantize_apply, and train.")
    values = {_leaf(weight.name): np.asarray(weight) for weight in layer.weights}
    if is_a(layer, "QuantizeLayer"):
        return Unwrapped(None, after=_range(values, layer.name, layer.quantizer))
    if not is_a(layer, "QuantizeWrapper"):
        return Unwrapped(layer, values, _activation(layer))
    inner, config = layer.layer, layer.quantize_config
    ranges = {"before": None, "after": None}
    for _, quantizer in config.get_activations_and_quantizers(inner):
        ranges["before"] = _range(values, "pre_activation", quantizer)
        ranges["after"] = _range(values, "post_activation", quantizer)
    for quantizer in config.get_output_quantizers(inner):
        ranges["after"] = _range(values, "output", quantizer)
    return Unwrapped(inner, values, _activation(inner), **ranges, largest=_largest(layer, values))


def _largest(wrapper, values):
    """Range of the kernel; a quantizer that changes the kernel itself has its word first."""
    largest = None
    # The wrapper's own list of (variable, quantizer, its variables): the layer's attributes hold
    # what the last call put in their place.
    for weight, quantizer, variables in wrapper._weight_vars:
        if not is_a(quantizer, *_RANGED):
            raise Refused(_unknown(quantizer))
        if quantizer.num_bits != 8 or not (quantizer.symmetric and quantizer.narrow_range):
            raise Refused(
                f"its weights have {quantizer.num_bits} bits"
                f"{'' if quantizer.symmetric else ', not symmetric'}"
                f"{'' if quantizer.narrow_range else ', the full range of integers'}; only TFMOT's "
                "default scheme can be taken over (8 bits, symmetric, from −127 to 127)."
            )
        name = _leaf(weight.name)
        if set(variables) != {"min_var", "max_var"}:
            # Of pruned or clustered weights what counts is what the quantizer makes of them.
            values[name] = np.asarray(quantizer(weight, False, weights=variables))
        ends = [np.abs(values[f"{name}_{end}"]) for end in ("min", "max")]
        largest = _finite(np.maximum(*ends))
    return largest


def _range(values, name, quantizer):
    """(low, high) of a tensor; None where nothing quantizes it."""
    if quantizer is None or is_a(quantizer, "NoQuantizer"):
        return None
    if not is_a(quantizer, "FixedQuantizer", *_RANGED):
        raise Refused(_unknown(quantizer))
    if quantizer.num_bits != 8 or quantizer.narrow_range or getattr(quantizer, "per_axis", False):
        raise Refused(
            f"its activations have {quantizer.num_bits} bits"
            f"{', the narrow range of integers' if quantizer.narrow_range else ''}"
            f"{', a scale a channel' if getattr(quantizer, 'per_axis', False) else ''}; only "
            "TFMOT's default scheme can be taken over (8 bits, one scale, all 256 integers)."
        )
    if is_a(quantizer, "FixedQuantizer"):
        return float(quantizer.init_min), float(quantizer.init_max)
    if f"{name}_min" not in values:
        return None
    return tuple(float(_finite(values[f"{name}_{end}"])) for end in ("min", "max"))


def _activation(layer):
    """Name of the activation; TFMOT puts an object around it."""
    function = getattr(layer, "activation", None)
    while is_a(function, "QuantizeAwareActivation"):
        function = function.activation
    if function is None or is_a(function, "NoOpActivation"):
        return None
    return getattr(function, "__name__", type(function).__name__)


def _finite(values):
    if not np.all(np.isfinite(values)):
        raise Refused("holds a range that is NaN or infinite; load a sound checkpoint.")
    return values


def _unknown(quantizer):
    return (
        f"has a quantizer of your own or of an experiment, {type(quantizer).__name__}; only "
        "ranges of the last batch, of moving averages, of all values and fixed ones can be taken "
        "over."
    )


def _leaf(name):
    """ "kernel" of "model/conv2d/kernel:0"."""
    return name.split(":")[0].split("/")[-1]
