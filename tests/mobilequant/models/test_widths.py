"""The width rules."""

import pytest

from mobilequant.models import widths


@pytest.mark.parametrize(
    ("width", "expected"),
    [(1, 8), (11.2, 16), (12, 16), (17, 16), (17.8, 24), (19.9, 24), (32, 32)],
)
def test_round_width(width, expected):
    assert widths.round_width(width) == expected


def test_width_rules():
    assert (widths.scaled(24, 0.5), widths.scaled(24, 1.4)) == (16, 32)
    assert (widths.cut(32, 0.3), widths.cut(32, 0.01)) == (9, 1)
    # 17.8 rounds to 16, which is more than 10 % below it; 17 does not.
    alpha = 17.8 / 32
    assert (widths.scaled(32, alpha), widths.scaled_and_cut(32, alpha)) == (24, 16)
    assert (widths.scaled_if_wider(1280, 0.35), widths.scaled_if_wider(1280, 1.4)) == (1280, 1792)
    # 160 · 0.33 rounds to 56; 960 · 0.33 alone would round to 320.
    assert (widths.six_times_scaled(960, 0.33), widths.scaled(960, 0.33)) == (336, 320)
    assert widths.unscaled(16, 0.35) == 16
