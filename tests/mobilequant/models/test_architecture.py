"""The tables against the authors' own, and the width rules they name."""

import json

import pytest

from mobilequant.models.architecture import (
    ConvBN,
    InvertedBottleneck,
    round_width,
    scaled,
    scaled_and_cut,
    scaled_if_wider,
)
from mobilequant.models.mobilenet_v2 import MOBILENET_V2

BLOCK_NAMES = {ConvBN: "convbn", InvertedBottleneck: "invertedbottleneck"}


def test_rows_are_those_of_the_authors(shared):
    reference = json.loads((shared / "reference" / "architectures.json").read_text())
    expected = reference["MobileNetV2"]["blocks"]
    assert len(MOBILENET_V2.rows) == len(expected)
    for row, block in zip(MOBILENET_V2.rows, expected, strict=True):
        assert BLOCK_NAMES[type(row)] == block["block"]
        for fact in ("kernel_size", "strides", "filters", "expand_ratio"):
            assert getattr(row, fact, None) == block.get(fact), (row, fact)


@pytest.mark.parametrize(
    ("width", "expected"),
    [(1, 8), (11.2, 16), (12, 16), (17, 16), (17.8, 24), (19.9, 24), (32, 32)],
)
def test_round_width(width, expected):
    assert round_width(width) == expected


def test_width_rules():
    assert (scaled(24, 0.5), scaled(24, 1.4)) == (16, 32)
    # 17.8 rounds to 16, which is more than 10 % below it; 17 does not.
    assert (scaled(32, 17.8 / 32), scaled_and_cut(32, 17.8 / 32)) == (24, 16)
    assert (scaled_if_wider(1280, 0.35), scaled_if_wider(1280, 1.4)) == (1280, 1792)


def test_early_strides_reach_the_first_blocks_that_halve():
    strides = [row.strides for row in MOBILENET_V2.with_early_strides((1, 1)).rows]
    assert strides[:5] == [1, 1, 1, 1, 2]
    assert strides[5:] == [row.strides for row in MOBILENET_V2.rows[5:]]
    assert MOBILENET_V2.with_early_strides((2, 2)) == MOBILENET_V2
