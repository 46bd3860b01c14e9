"""The table format of the architectures: one row a block, and the width rules a row can name.

A row says what a block is; `blocks.py` says which layers it becomes. A new kind of block is a new
row class here and a new function there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

WidthRule = Callable[[int, float], int]


def round_width(width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `width`, but never more than 10 % below it.

    Channels come in multiples of eight because that is what vector units work on; the 10 % keep
    narrow networks from losing a quarter of a layer to the rounding. It is the rule of the
    reference code of MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).

    Args:
        width: channels asked for, usually no whole number.
        divisor: the result is a multiple of it, and at least once it.
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * width else rounded + divisor


def scaled(filters: int, alpha: float) -> int:
    """`filters` times the width multiplier, rounded to a multiple of eight."""
    return round_width(filters * alpha)


def scaled_and_cut(filters: int, alpha: float) -> int:
    """As `scaled`, but what follows the decimal point is dropped before the rounding.

    `keras.applications.MobileNetV2` does so in its bottlenecks and not in its stem. The two
    differ by eight channels at a few uncommon multipliers.
    """
    return round_width(int(filters * alpha))


def scaled_if_wider(filters: int, alpha: float) -> int:
    """`filters` for narrow networks, `scaled` for those wider than the original.

    For the last features: the classifier needs them all, however narrow the rest is.
    """
    return scaled(filters, max(alpha, 1.0))


@dataclass(frozen=True)
class ConvBN:
    """A convolution, batch normalization and an activation.

    Attributes:
        filters: output channels at width multiplier 1.
        kernel_size: height and width of the kernel.
        strides: 1 or 2.
        activation: a key of `blocks.ACTIVATIONS`.
        width: rule from (filters, alpha) to the actual output channels.
        layer_names: of the convolution, the normalization and the activation.
    """

    filters: int
    kernel_size: int = 3
    strides: int = 1
    activation: str = "relu6"
    width: WidthRule = scaled
    layer_names: tuple[str, str, str] = ("conv", "bn", "activation")


@dataclass(frozen=True)
class InvertedBottleneck:
    """Expand by a 1×1 convolution, filter each channel, project back; linear at the end.

    The input is added to the output where both have the same shape. Without expansion
    (`expand_ratio=1`) the first convolution is left out.

    Attributes:
        filters: output channels at width multiplier 1.
        expand_ratio: channels in the middle for one input channel.
        kernel_size: height and width of the depthwise kernel.
        strides: 1 or 2, of the depthwise convolution.
        activation: a key of `blocks.ACTIVATIONS`, after the first two convolutions.
        width: rule from (filters, alpha) to the actual output channels.
        name: what the names of its layers begin with.
    """

    filters: int
    expand_ratio: float = 6
    kernel_size: int = 3
    strides: int = 1
    activation: str = "relu6"
    width: WidthRule = scaled
    name: str = "bottleneck"


Row = ConvBN | InvertedBottleneck


@dataclass(frozen=True)
class Architecture:
    """A named backbone.

    Attributes:
        name: what the names of its models begin with.
        rows: the blocks, from the image to the last features.
        batch_norm_epsilon: added to the variance in every batch normalization.
    """

    name: str
    rows: tuple[Row, ...]
    batch_norm_epsilon: float = 1e-3

    def with_early_strides(self, early_strides: tuple[int, ...]) -> "Architecture":
        """The same architecture with other strides in the first blocks that halve the image.

        Args:
            early_strides: new strides, in order, for the first `len(early_strides)` rows whose
                strides are 2. The weights keep their shapes.
        """
        halving = [i for i, row in enumerate(self.rows) if row.strides == 2]
        rows = list(self.rows)
        for index, strides in zip(halving, early_strides, strict=False):
            rows[index] = replace(rows[index], strides=strides)
        return replace(self, rows=tuple(rows))
