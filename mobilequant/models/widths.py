"""The rules from a table's channels and the width multiplier to the channels of a layer."""

from collections.abc import Callable

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


def cut(filters: int, alpha: float) -> int:
    """`filters` times the width multiplier without what follows the decimal point, at least 1.

    MobileNetV1 knows no multiples of eight.
    """
    return max(1, int(filters * alpha))


def scaled_and_cut(filters: int, alpha: float) -> int:
    """As `scaled`, but what follows the decimal point is dropped before the rounding.

    `keras.applications.MobileNetV2` does so in its bottlenecks and not in its stem. The two
    differ by eight channels at a few uncommon multipliers.
    """
    return round_width(int(filters * alpha))


def scaled_if_wider(filters: int, alpha: float) -> int:
    """`filters` for narrow networks, `scaled` for those wider than the original.

    For the last features: the classifier needs them all, however narrow the rest is. MobileNetV4
    keeps its stem in the same way.
    """
    return scaled(filters, max(alpha, 1.0))


def six_times_scaled(filters: int, alpha: float) -> int:
    """Six times the rounded sixth of `filters`.

    The last convolution of MobileNetV3 expands what comes before it, already rounded, by six.
    """
    return 6 * scaled(filters // 6, alpha)


def unscaled(filters: int, alpha: float) -> int:
    """`filters`, whatever the multiplier: the stem of MobileNetV3."""
    del alpha
    return filters
