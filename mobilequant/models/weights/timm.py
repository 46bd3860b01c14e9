"""The names of weights in timm's MobileNets (`timm.models.efficientnet` and `mobilenetv3`).

Facts about the names, taken from its files; its rows are numbered by stage and block,
"blocks.2.0.conv_dw.weight".
"""

from mobilequant.models.architecture import (
    Architecture,
    ConvBN,
    DepthwiseSeparable,
    FusedInvertedBottleneck,
    InvertedBottleneck,
    MobileMQA,
    Row,
    UniversalInvertedBottleneck,
)

STEM = "conv_stem.weight"
EPSILON, TENSORFLOW_EPSILON = 1e-5, 1e-3

Names = list[tuple[str, str]]


def layer_names(architecture: Architecture, include_top: bool) -> Names:
    """Which layer has which name in timm.

    Args:
        architecture: the model's table.
        include_top: whether the model has a classifier.

    Returns:
        Pairs (name of our layer, what the names of its weights begin with in timm).

    Raises:
        ValueError: timm has no such model.
    """
    if not architecture.stages:
        raise ValueError(f"timm has no model {architecture.name}, nor names for its weights")
    stem, *rows = architecture.body
    names = _convolution(stem, "conv_stem", "bn1")
    places = [f"blocks.{s}.{i}" for s, n in enumerate(architecture.stages) for i in range(n)]
    for row, place in zip(rows, places, strict=False):
        names += [(layer, f"{place}.{name}") for layer, name in _BLOCKS[type(row)](row)]
    for row in rows[len(places) :]:
        names += _convolution(row, "conv_head", "bn2")
    if include_top:
        for row in architecture.head[1:]:
            names += _convolution(row, "conv_head", "norm_head")
        names.append((architecture.classifier, "classifier"))
    return names


def belongs_to_top(architecture: Architecture, key: str) -> bool:
    """Whether a key is one of the parts that a model without the top leaves out."""
    parts = ("classifier.", "conv_head.", "norm_head.") if architecture.head else ("classifier.",)
    return key.startswith(parts)


def _convolution(row: ConvBN, convolution: str, norm: str) -> Names:
    conv_layer, norm_layer, _ = row.layer_names
    return [(conv_layer, convolution), *([(norm_layer, norm)] if row.normalized else [])]


def _conv_bn(row: ConvBN) -> Names:
    return _convolution(row, "conv", "bn1")


def _depthwise_separable(row: DepthwiseSeparable) -> Names:
    depthwise, pointwise = row.layer_names
    return [
        (depthwise, "conv_dw"),
        (f"{depthwise}_bn", "bn1"),
        (pointwise, "conv_pw"),
        (f"{pointwise}_bn", "bn2"),
    ]


def _inverted_bottleneck(row: InvertedBottleneck) -> Names:
    parts = [("expand", "conv_pw"), ("depthwise", "conv_dw"), ("project", "conv_pwl")]
    if row.expand_ratio == 1:
        parts = [("depthwise", "conv_dw"), ("project", "conv_pw")]
    norm, _ = row.suffixes
    names = []
    for number, (ours, theirs) in enumerate(parts, start=1):
        names += [(f"{row.name}_{ours}", theirs), (f"{row.name}_{ours}_{norm}", f"bn{number}")]
    if row.se_ratio:
        names += [
            (f"{row.name}_squeeze_excite_conv", "se.conv_reduce"),
            (f"{row.name}_squeeze_excite_conv_1", "se.conv_expand"),
        ]
    return names


def _fused_inverted_bottleneck(row: FusedInvertedBottleneck) -> Names:
    if row.expand_ratio == 1:
        return [(f"{row.name}_project", "conv"), (f"{row.name}_project_bn", "bn1")]
    return [
        (f"{row.name}_expand", "conv_exp"),
        (f"{row.name}_expand_bn", "bn1"),
        (f"{row.name}_project", "conv_pwl"),
        (f"{row.name}_project_bn", "bn2"),
    ]


def _universal_inverted_bottleneck(row: UniversalInvertedBottleneck) -> Names:
    parts = [("expand", "pw_exp"), ("project", "pw_proj")]
    if row.start_kernel_size:
        parts.append(("start", "dw_start"))
    if row.middle_kernel_size:
        parts.append(("middle", "dw_mid"))
    if row.end_kernel_size:
        parts.append(("end", "dw_end"))
    names = []
    for ours, theirs in parts:
        names += [
            (f"{row.name}_{ours}", f"{theirs}.conv"),
            (f"{row.name}_{ours}_bn", f"{theirs}.bn"),
        ]
    return names + _layer_scale(row)


def _mobile_mqa(row: MobileMQA) -> Names:
    names = [
        (f"{row.name}_norm", "norm"),
        (f"{row.name}_query", "attn.query.proj"),
        (f"{row.name}_key", "attn.key.proj"),
        (f"{row.name}_value", "attn.value.proj"),
        (f"{row.name}_output", "attn.output.proj"),
    ]
    if row.kv_strides > 1:
        for part in ("key", "value"):
            names += [
                (f"{row.name}_{part}_downsample", f"attn.{part}.down_conv"),
                (f"{row.name}_{part}_downsample_bn", f"attn.{part}.norm"),
            ]
    return names + _layer_scale(row)


def _layer_scale(row: Row) -> Names:
    return [] if row.layer_scale is None else [(f"{row.name}_layer_scale", "layer_scale")]


_BLOCKS = {
    ConvBN: _conv_bn,
    DepthwiseSeparable: _depthwise_separable,
    InvertedBottleneck: _inverted_bottleneck,
    FusedInvertedBottleneck: _fused_inverted_bottleneck,
    UniversalInvertedBottleneck: _universal_inverted_bottleneck,
    MobileMQA: _mobile_mqa,
}
