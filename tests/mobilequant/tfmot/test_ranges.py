"""Ranges on grids: ours have the scales and zero points of TFLite's converter."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from mobilequant.layers.weight_quantizer import WeightQuantizer
from mobilequant.quantizers import Scheme, affine_grid
from mobilequant.tfmot.ranges import _set_weight_range, nudged

ends = st.floats(-100, 100, width=32)


@given(ends, ends)
def test_the_grid_is_that_of_the_converter(low, high):
    low, high = min(low, high, 0.0), max(low, high, 0.0)
    scale, zero_point = (float(number) for number in affine_grid(*nudged(low, high)))
    assume(high - low > 1e-20)
    # In double precision, as MLIR's quantization dialect does.
    exact = (high - low) / 255
    assert abs(scale - np.float32(exact)) <= np.spacing(np.float32(exact))
    assert zero_point == np.clip(np.floor(-128 - low / exact + 0.5), -128, 127)


def test_nearly_every_scale_is_the_very_one():
    random = np.random.default_rng(0)
    spans = random.uniform(0.01, 20, 300).astype("float32").astype(float)
    shares = random.uniform(0, 1, 300)
    same = [
        float(affine_grid(*nudged(-share * span, (1 - share) * span))[0])
        == np.float32(((1 - share) * span - (-share * span)) / 255)
        for span, share in zip(spans, shares, strict=True)
    ]
    assert np.mean(same) > 0.99


def test_weights_have_the_very_scales():
    largest = np.random.default_rng(0).uniform(1e-4, 10, 500).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(3, len(largest))).astype("float32")
    quantizer = WeightQuantizer(Scheme(bits=8, estimator="lsq"))
    quantizer.build(kernel)
    _set_weight_range(quantizer, largest, [], "layer")
    _, scales = quantizer.integers(kernel)
    expected = (largest.astype(float) / 127).astype("float32")
    np.testing.assert_array_max_ulp(np.asarray(scales), expected, 1)
    assert np.mean(np.asarray(scales) == expected) > 0.95


def test_one_range_for_all_channels_and_one_for_a_multiplier():
    kernel = np.ones((3, 6), "float32")
    quantizer = WeightQuantizer(Scheme(bits=8, estimator="lsq"))
    quantizer.build(kernel)
    _set_weight_range(quantizer, np.float32(12.7), [], "layer")
    np.testing.assert_allclose(quantizer.unit[0], 0.1, rtol=1e-6)
    # A depthwise kernel of 3 channels times 2.
    _set_weight_range(quantizer, np.array([12.7, 25.4]), [], "layer")
    np.testing.assert_allclose(quantizer.unit[0], [0.1, 0.2] * 3, rtol=1e-6)
