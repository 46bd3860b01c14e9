"""The table format of the architectures: one row a block.

A row says what a block is: its fields are the keyword arguments of the function that
`builder.py` calls for it, and the `width` rule that makes `filters` narrower or wider. A new
kind of block is a new row class here and a new function in `bottlenecks.py`.
"""

from dataclasses import dataclass, replace

from mobilequant.models.widths import WidthRule, scaled


@dataclass(frozen=True)
class ConvBN:
    """A convolution, batch normalization and an activation: `bottlenecks.conv_bn`.

    Attributes:
        filters: output channels at width multiplier 1.
        width: rule from (filters, alpha) to the actual output channels.
        endpoint: whether its output is a feature level for other heads; so in all rows.
    """

    filters: int
    kernel_size: int = 3
    strides: int = 1
    activation: str = "relu"
    use_bias: bool = False
    normalized: bool = True
    layer_names: tuple[str, str, str] = ("conv", "bn", "activation")
    width: WidthRule = scaled
    endpoint: bool = False


@dataclass(frozen=True)
class DepthwiseSeparable:
    """A block of MobileNetV1: `bottlenecks.depthwise_separable`."""

    filters: int
    kernel_size: int = 3
    strides: int = 1
    activation: str = "relu6"
    layer_names: tuple[str, str] = ("depthwise", "pointwise")
    width: WidthRule = scaled
    endpoint: bool = False


@dataclass(frozen=True)
class InvertedBottleneck:
    """A block of MobileNetV2 or V3: `bottlenecks.inverted_bottleneck`."""

    filters: int
    expand_ratio: float = 6
    kernel_size: int = 3
    strides: int = 1
    se_ratio: float = 0.0
    activation: str = "relu6"
    residual: bool = True
    name: str = "bottleneck"
    suffixes: tuple[str, str] = ("bn", "activation")
    width: WidthRule = scaled
    endpoint: bool = False


@dataclass(frozen=True)
class FusedInvertedBottleneck:
    """A block for accelerators: `bottlenecks.fused_inverted_bottleneck`."""

    filters: int
    expand_ratio: float = 4
    kernel_size: int = 3
    strides: int = 1
    activation: str = "relu"
    residual: bool = True
    name: str = "fused_bottleneck"
    width: WidthRule = scaled
    endpoint: bool = False


@dataclass(frozen=True)
class UniversalInvertedBottleneck:
    """A block of MobileNetV4: `bottlenecks.universal_inverted_bottleneck`."""

    filters: int
    expand_ratio: float = 4
    start_kernel_size: int = 0
    middle_kernel_size: int = 3
    end_kernel_size: int = 0
    strides: int = 1
    activation: str = "relu"
    layer_scale: float | None = None
    name: str = "universal_bottleneck"
    width: WidthRule = scaled
    endpoint: bool = False


@dataclass(frozen=True)
class MobileMQA:
    """An attention block of MobileNetV4 Hybrid: `attention.mobile_mqa`. It keeps the channels."""

    num_heads: int = 4
    key_dim: int = 64
    value_dim: int = 64
    kv_strides: int = 1
    downsampling_kernel_size: int = 3
    layer_scale: float | None = None
    name: str = "attention"
    endpoint: bool = False


@dataclass(frozen=True)
class GlobalPooling:
    """The mean over height and width, which both stay as 1. It and what follows is the top."""

    name: str = "global_average_pooling2d"
    endpoint: bool = False


Row = (
    ConvBN
    | DepthwiseSeparable
    | InvertedBottleneck
    | FusedInvertedBottleneck
    | UniversalInvertedBottleneck
    | MobileMQA
    | GlobalPooling
)


@dataclass(frozen=True)
class Architecture:
    """A named network.

    Attributes:
        name: what the names of its models begin with.
        rows: the blocks, from the image to the features that the classifier takes.
        stages: how timm groups the rows between its stem and its head, in rows of each stage;
            its weights are named by these numbers. Empty where timm has no such model.
        classifier: name of the last layer with weights.
        classifier_is_convolution: whether that is a 1×1 convolution of the pooled features, as
            in `keras.applications` for MobileNet V1 and V3, or a dense layer.
        batch_norm_epsilon: added to the variance in every batch normalization, in TensorFlow.
    """

    name: str
    rows: tuple[Row, ...]
    stages: tuple[int, ...] = ()
    classifier: str = "predictions"
    classifier_is_convolution: bool = False
    batch_norm_epsilon: float = 1e-3

    @property
    def body(self) -> tuple[Row, ...]:
        """The rows before the global pooling: those of a model without the top."""
        pooling = [i for i, row in enumerate(self.rows) if isinstance(row, GlobalPooling)]
        return self.rows[: pooling[0]] if pooling else self.rows

    @property
    def head(self) -> tuple[Row, ...]:
        """The rows from the global pooling on."""
        return self.rows[len(self.body) :]

    def with_early_strides(self, early_strides: tuple[int, ...]) -> "Architecture":
        """The same architecture with other strides in the first blocks that halve the image.

        Args:
            early_strides: new strides, in order, for the first `len(early_strides)` rows whose
                strides are 2. The weights keep their shapes.
        """
        halving = [i for i, row in enumerate(self.rows) if strides_of(row) == 2]
        rows = list(self.rows)
        for index, strides in zip(halving, early_strides, strict=False):
            rows[index] = replace(rows[index], strides=strides)
        return replace(self, rows=tuple(rows))


def strides_of(row: Row) -> int:
    """The strides of a row; 1 for those that know none."""
    return getattr(row, "strides", 1)


def numbered(*rows: Row) -> tuple[Row, ...]:
    """The rows with names: "stem" for the first, "head" after pooling, else "block_1" and so on."""
    named, place = [], "block_{}"
    for index, row in enumerate(rows):
        if isinstance(row, GlobalPooling):
            named.append(row)
            place = "head"
            continue
        prefix = place.format(index) if index else "stem"
        if isinstance(row, ConvBN):
            names = tuple(f"{prefix}_{part}" for part in ("conv", "bn", "activation"))
            named.append(replace(row, layer_names=names))
        else:
            named.append(replace(row, name=prefix))
    return tuple(named)
