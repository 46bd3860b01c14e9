"""The tables against the authors' own."""

import math

import pytest

from mobilequant.models import (
    GARDEN,
    mobilenet_edgetpu,
    mobilenet_multi,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    mobilenet_v4_hybrid,
)
from mobilequant.models.architecture import (
    ConvBN,
    DepthwiseSeparable,
    FusedInvertedBottleneck,
    GlobalPooling,
    InvertedBottleneck,
    MobileMQA,
    UniversalInvertedBottleneck,
)

TABLES = {
    "MobileNetV1": mobilenet_v1.MOBILENET_V1,
    "MobileNetV2": mobilenet_v2.MOBILENET_V2,
    "MobileNetV3Large": mobilenet_v3.MOBILENET_V3_LARGE,
    "MobileNetV3Small": mobilenet_v3.MOBILENET_V3_SMALL,
    "MobileNetEdgeTPU": mobilenet_edgetpu.MOBILENET_EDGETPU,
    "MobileNetMultiMAX": mobilenet_multi.MOBILENET_MULTI_MAX,
    "MobileNetMultiAVG": mobilenet_multi.MOBILENET_MULTI_AVG,
    "MobileNetMultiMAXSeg": mobilenet_multi.MOBILENET_MULTI_MAX_SEG,
    "MobileNetMultiAVGSeg": mobilenet_multi.MOBILENET_MULTI_AVG_SEG,
    "MobileNetV4ConvSmall": mobilenet_v4.MOBILENET_V4_CONV_SMALL,
    "MobileNetV4ConvMedium": mobilenet_v4.MOBILENET_V4_CONV_MEDIUM,
    "MobileNetV4ConvMediumSeg": mobilenet_v4.MOBILENET_V4_CONV_MEDIUM_SEG,
    "MobileNetV4ConvLarge": mobilenet_v4.MOBILENET_V4_CONV_LARGE,
    "MobileNetV4HybridMedium": mobilenet_v4_hybrid.MOBILENET_V4_HYBRID_MEDIUM,
    "MobileNetV4HybridLarge": mobilenet_v4_hybrid.MOBILENET_V4_HYBRID_LARGE,
}

BLOCKS = {
    "convbn": ConvBN,
    "depsepconv": DepthwiseSeparable,
    "invertedbottleneck": InvertedBottleneck,
    "fused_ib": FusedInvertedBottleneck,
    "uib": UniversalInvertedBottleneck,
    "mhsa": MobileMQA,
    "gpooling": GlobalPooling,
}
#: The authors' names of facts, ours, and what a fact is where they do not give it.
FACTS = {
    "filters": ("filters", None),
    "kernel_size": ("kernel_size", None),
    "strides": ("strides", None),
    "expand_ratio": ("expand_ratio", None),
    "activation": ("activation", None),
    "endpoint": ("endpoint", None),
    "use_bias": ("use_bias", False),
    "use_normalization": ("normalized", True),
    "use_residual": ("residual", True),
    "se_ratio": ("se_ratio", 0.0),
    "start_dw_kernel_size": ("start_kernel_size", None),
    "middle_dw_kernel_size": ("middle_kernel_size", None),
    "end_dw_kernel_size": ("end_kernel_size", 0),
    "num_heads": ("num_heads", None),
    "key_dim": ("key_dim", None),
    "value_dim": ("value_dim", None),
    "kv_strides": ("kv_strides", None),
    "downsampling_dw_kernel_size": ("downsampling_kernel_size", None),
}


def test_the_garden_is_whole(architectures):
    assert set(TABLES) == set(GARDEN) == set(architectures)


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_those_of_the_authors(architectures, name):
    rows, blocks = TABLES[name].rows, architectures[name]["blocks"]
    assert len(rows) == len(blocks)
    for row, block in zip(rows, blocks, strict=True):
        fused = block["block"] == "invertedbottleneck" and not block.get("use_depthwise", True)
        assert type(row) is (FusedInvertedBottleneck if fused else BLOCKS[block["block"]])
        for theirs, (ours, otherwise) in FACTS.items():
            if not hasattr(row, ours) or (block["block"] == "mhsa" and ours == "activation"):
                continue
            expected = block.get(theirs, otherwise)
            if expected is None and theirs not in block:
                continue  # an activation that they leave to the default
            actual = getattr(row, ours)
            same = (
                math.isclose(actual, expected) if isinstance(actual, float) else actual == expected
            )
            # A fused block without expansion has no kernel but the 1×1 of its projection.
            assert same or (fused and row.expand_ratio == 1 and ours == "kernel_size"), (
                row,
                theirs,
            )
        assert (getattr(row, "layer_scale", None) is not None) == block.get(
            "use_layer_scale", False
        )


def test_early_strides_reach_the_first_blocks_that_halve():
    table = mobilenet_v2.MOBILENET_V2
    strides = [row.strides for row in table.with_early_strides((1, 1)).rows]
    assert strides[:5] == [1, 1, 1, 1, 2]
    assert strides[5:] == [row.strides for row in table.rows[5:]]
    assert table.with_early_strides((2, 2)) == table
