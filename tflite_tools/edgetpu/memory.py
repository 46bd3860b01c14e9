"""What a model's parameters take on the Edge TPU's chip, estimated.

The compiler says how it lays parameters out in nothing but its files. Measured in nine of Coral's
(MobileNet V1 at four widths, DeepLab v3 at two, PoseNet, BodyPix, MoveNet): weights are padded to
whole groups of channels, and each channel takes constants of its own. With the numbers below the
estimate lies between 4 % under and 3 % over what those files hold, 1 % off on average. Of LSTMs it
knows nothing: Coral's small one takes three times its estimate.
"""

from __future__ import annotations

import math

from tflite_tools.edgetpu.operations import Operand, Operation

#: The chip's memory, and how much of it a program leaves: by logs of the compiler 0.3 MiB (one
#: layer) to 2 MiB (several hundred) are gone, about 1 MiB for a hundred operators.
CHIP_BYTES = 8 << 20
PROGRAM_BYTES = 1 << 20

#: Output channels of weights come in groups of so many; those of a depthwise convolution.
_CHANNELS = 16
_DEPTHWISE_CHANNELS = 64

#: Constants of one output channel (bias, multiplier, …), and groups that they come in.
_CHANNEL_BYTES = 24
_CHANNEL_GROUP = 32


def parameter_bytes(mapped: list[Operation]) -> int:
    """Bytes on the chip of all weights and other quantized constants, about.

    Args:
        mapped: Operators that run on the Edge TPU. Constants that two of them share count once.
    """
    sizes: dict[int, int] = {}
    for op in mapped:
        weights = _weights(op)
        for operand in op.inputs:
            if operand is None or not operand.quantized or not operand.constant:
                continue  # biases are among the channels' constants, shapes in the program
            sizes[operand.index] = (
                _padded(op.kind, operand) if operand is weights else operand.bytes
            )
    return sum(sizes.values())


def _weights(op: Operation) -> Operand | None:
    """What is laid out by output channels; None for operators without weights."""
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
    return op.operand(1) if op.kind in kinds else None


def _padded(kind: str, weights: Operand) -> int:
    shape = weights.shape or (1,)
    if kind == "DEPTHWISE_CONV_2D":
        channels, others, group = shape[-1], shape[:-1], _DEPTHWISE_CHANNELS
    else:
        channels, others, group = shape[0], shape[1:], _CHANNELS
    return math.prod(others) * _up(channels, group) + _CHANNEL_BYTES * _up(channels, _CHANNEL_GROUP)


def _up(number: int, group: int) -> int:
    return -(-number // group) * group
