"""Up to what single operators are mapped to the Edge TPU: one predicate a limit.

Each takes an operation and returns None where it keeps within the limit, else what is beyond it
and what to change. `rules.OPERATORS` says which hold for which operator. Where the documentation
states a limit without its number, the number is the largest that a public compiled file or log of
the compiler shows to be mapped, so that a plan promises no more than is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tflite_tools.edgetpu.operations import Operand, Operation

#: What is beyond a limit, and what to change; or None.
Finding = tuple[str, str] | None
Limit = Callable[[Operation], Finding]

#: Elements of a SOFTMAX, by the documentation.
SOFTMAX_ELEMENTS = 16000

#: The documentation says that resizes stay on the CPU where they would lose precision. Known to be
#: mapped: 4 times in each direction (BiSeNet v2's inner ones), twice to 128×128×32. Known to stay:
#: from one pixel to 33×33, 8 times to 256×512, 16 times to 513×513 (DeepLab v3's), twice to
#: 512×512×32. One that changes nothing is mapped.
RESIZE_FACTOR = 4
RESIZE_ELEMENTS = 128 * 128 * 32

#: Advice that many of them give.
FIXED_SHAPES = "fix the input's shape before conversion, so that nothing is computed from shapes"


def constant_parameters(op: Operation) -> Finding:
    """Weights, biases and slopes are in the file."""
    data = 2 if op.kind == "TRANSPOSE_CONV" else 0
    for place, operand in enumerate(op.inputs):
        computed = operand is not None and not (operand.constant or operand.variable)
        if computed and place != data:
            return (
                f"its parameters ({operand.label}) are computed while the model runs",
                "keep weights and biases constant",
            )
    return None


def no_activation(op: Operation) -> Finding:
    """No activation is fused into it."""
    if op.option("fusedActivationFunction"):
        return "it has a fused activation", "put the activation behind the layer before it"
    return None


def equal_dilation(op: Operation) -> Finding:
    """Height and width are dilated alike."""
    height, width = op.option("dilationHFactor"), op.option("dilationWFactor")
    if height != width:
        return f"its dilation is {height}×{width}", "use one dilation for height and width"
    return None


def zero_constant(op: Operation) -> Finding:
    """Nothing but zeros, to one other input, is concatenated as a constant."""
    constants = [x for x in op.inputs if x is not None and x.constant]
    if not constants:
        return None
    advice = "use padding, or keep constants out of the concatenation"
    if len(op.inputs) != 2 or len(constants) != 1:
        return "a constant is among other than two inputs", advice
    values = constants[0].values
    if values is None or (values != constants[0].zero_point).any():
        return "its constant input is not all zero", advice
    return None


def one_scale(op: Operation) -> Finding:
    """Weights have one scale, not one for each output."""
    weights = op.operand(1)
    if weights is not None and weights.scales > 1:
        return (
            f"its weights have {weights.scales} scales, one an output; one is taken",
            "quantize dense layers per tensor (target 'edgetpu' does), "
            "or use a 1×1 convolution instead",
        )
    return None


def default_format(op: Operation) -> Finding:
    """Weights are in rows, not shuffled."""
    if op.option("weightsFormat"):
        return "its weights are in a shuffled format", "convert with the default weights format"
    return None


def one_dimensional(op: Operation) -> Finding:
    """What it gives has one dimension; those before it are 1."""
    for operand in op.outputs:
        if any(n > 1 for n in (operand.shape or ())[:-1]):
            return (
                f"a tensor of {size(operand)}: all dimensions but the last must be 1",
                "flatten what comes before, or use a 1×1 convolution for a dense layer",
            )
    return None


def softmax_size(op: Operation) -> Finding:
    """A softmax is over no more classes than the chip takes."""
    elements = max((_elements(x) for x in op.activations), default=0)
    if elements > SOFTMAX_ELEMENTS:
        return (
            f"{elements:,} elements, at most {SOFTMAX_ELEMENTS:,} are taken",
            "give the logits and take the softmax in the app",
        )
    return None


def not_over_batch(op: Operation) -> Finding:
    """A reduction leaves the batch alone."""
    axes = _axes(op, 1)
    if axes is None:
        return "its axes cannot be read", FIXED_SHAPES
    if 0 in axes:
        return "it reduces the batch", "reduce height, width or channels only"
    return None


def whole_fours(op: Operation) -> Finding:
    """Channels that are averaged are a multiple of 4."""
    axes, shape = _axes(op, 1), _shape(op)
    if axes and shape and len(shape) - 1 in axes and shape[-1] % 4:
        return (
            f"it averages {shape[-1]} channels, which is no multiple of 4",
            "use a multiple of 4 channels",
        )
    return None


def not_along_batch(op: Operation) -> Finding:
    """Tensors are not stacked along the batch."""
    if op.option("axis") % max(1, len(op.outputs[0].shape or ()) if op.outputs else 1) == 0:
        return "it packs along the batch", "stack along another axis"
    return None


def no_batch_padding(op: Operation) -> Finding:
    """The batch is not padded."""
    paddings = op.operand(1)
    if paddings is None or paddings.values is None or len(paddings.values) < 2:
        return "its padding cannot be read", FIXED_SHAPES
    if paddings.values[:2].any():
        return "it pads the batch", "pad height, width or channels only"
    return None


def one_slope_a_channel(op: Operation) -> Finding:
    """PReLU shares its slopes over height and width."""
    slopes = op.operand(1)
    if slopes is None or any(n > 1 for n in (slopes.shape or ())[:-1]):
        return (
            "its slopes differ over height and width",
            "share them: keras.layers.PReLU(shared_axes=[1, 2])",
        )
    return None


def split_axis(op: Operation) -> Finding:
    """The batch is not split."""
    axis, shape = op.operand(0), _shape(op, 1)
    if axis is None or axis.values is None or not len(axis.values):
        return "its axis cannot be read", FIXED_SHAPES
    if not shape or int(axis.values[0]) % len(shape) == 0:
        return "it splits the batch", "split height, width or channels"
    return None


def leading_ones(op: Operation) -> Finding:
    """Only leading dimensions of 1 are squeezed."""
    before = _shape(op)
    after = op.outputs[0].shape if op.outputs else None
    kept = len(after or ())
    leading = (before or ())[: len(before or ()) - kept]
    if (before or ())[len(leading) :] != (after or ()) or any(n != 1 for n in leading):
        return "it takes away more than leading dimensions of 1", "use a RESHAPE (keras Reshape)"
    return None


def unit_strides(op: Operation) -> Finding:
    """A slice takes every element of its range, and adds no dimension."""
    strides = op.operand(3)
    if strides is None or strides.values is None:
        return "its strides cannot be read", FIXED_SHAPES
    if any(n != 1 for n in strides.values.tolist()):
        return (
            f"its strides are {'×'.join(map(str, strides.values.tolist()))}; all must be 1",
            "slice without steps; to halve an image, use pooling or SPACE_TO_DEPTH",
        )
    if op.option("ellipsisMask") or op.option("newAxisMask"):
        return "it has an ellipsis or a new axis", "slice each dimension by itself"
    return None


def precise_enough(op: Operation) -> Finding:
    """A resize is one that is known not to lose precision."""
    before, after = _shape(op), op.outputs[0].shape if op.outputs else None
    if not before or not after or len(before) != 4 or len(after) != 4:
        return "it is not of images with 4 dimensions", "resize images of height×width×channels"
    if before == after:
        return None
    if any(n > RESIZE_FACTOR * m for m, n in zip(before[1:3], after[1:3], strict=True)):
        return (
            f"from {before[1]}×{before[2]} to {after[1]}×{after[2]}: "
            f"at most {RESIZE_FACTOR} times is known to be taken",
            "let ADD or MUL broadcast the one pixel instead of resizing it"
            if before[1:3] == (1, 1)
            else "resize in steps, by transposed convolutions, or in the app",
        )
    elements = math.prod(after)
    if elements > RESIZE_ELEMENTS:
        return (
            f"to {'×'.join(map(str, after))}, {elements:,} elements: "
            f"at most {RESIZE_ELEMENTS:,} are known to be taken",
            "resize fewer channels or a smaller image, or resize in the app",
        )
    return None


def _axes(op: Operation, place: int) -> set[int] | None:
    axes, shape = op.operand(place), _shape(op)
    if axes is None or axes.values is None or not shape:
        return None
    return {int(axis) % len(shape) for axis in axes.values}


def _shape(op: Operation, place: int = 0) -> tuple[int, ...] | None:
    operand = op.operand(place)
    return None if operand is None else operand.shape


def _elements(operand: Operand) -> int:
    return math.prod(operand.shape or ())


def size(operand: Operand) -> str:
    """A shape for people, with "?" for a size that the file does not state."""
    return "×".join("?" if n < 0 else str(n) for n in operand.shape or ()) or "no dimensions"
