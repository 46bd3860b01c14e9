"""Convolutions of every kind and Dense on every rank: integers equal to the file's."""

import keras
import pytest
from layer_checks import (
    as_after_training,
    calibrated,
    check,
    kinds_of,
    outputs,
    reloaded,
    sample,
)

import mobilequant as mq
from mobilequant.quantize import freeze

L = keras.layers
IMAGE, SEQUENCE = (8, 8, 4), (16, 4)

CASES = {
    "conv 1d": (SEQUENCE, L.Conv1D(6, 3), "CONV_2D"),
    "conv 1d same strided": (SEQUENCE, L.Conv1D(6, 3, 2, "same"), "CONV_2D"),
    "conv 1d dilated": (SEQUENCE, L.Conv1D(6, 3, dilation_rate=2, padding="same"), "CONV_2D"),
    "conv 1d causal": (SEQUENCE, L.Conv1D(6, 3, padding="causal"), "CONV_2D"),
    "conv 1d causal dilated": (
        SEQUENCE,
        L.Conv1D(6, 3, padding="causal", dilation_rate=2),
        "CONV_2D",
    ),
    "conv 1d grouped": (SEQUENCE, L.Conv1D(6, 3, groups=2), "CONV_2D"),
    "conv 2d dilated": (IMAGE, L.Conv2D(6, 3, dilation_rate=2), "CONV_2D"),
    "conv 2d grouped": (IMAGE, L.Conv2D(6, 3, groups=2, padding="same"), "CONV_2D"),
    "conv 2d oblong": (IMAGE, L.Conv2D(6, (1, 3), (2, 1)), "CONV_2D"),
    "depthwise 1d": (SEQUENCE, L.DepthwiseConv1D(3, padding="same"), "DEPTHWISE_CONV_2D"),
    "depthwise 1d multiplied": (
        SEQUENCE,
        L.DepthwiseConv1D(3, 2, depth_multiplier=2),
        "DEPTHWISE_CONV_2D",
    ),
    "depthwise 2d dilated": (IMAGE, L.DepthwiseConv2D(3, dilation_rate=2), "DEPTHWISE_CONV_2D"),
    "separable 1d": (SEQUENCE, L.SeparableConv1D(6, 3), "CONV_2D"),
    "separable 2d": (IMAGE, L.SeparableConv2D(6, 3, 2, "same"), "CONV_2D"),
    "separable 2d multiplied": (IMAGE, L.SeparableConv2D(6, 3, depth_multiplier=2), "CONV_2D"),
    "transposed 1d": (SEQUENCE, L.Conv1DTranspose(6, 3, 2, "same"), "TRANSPOSE_CONV"),
    "transposed 1d valid": (SEQUENCE, L.Conv1DTranspose(6, 4, 2), "TRANSPOSE_CONV"),
    "transposed 2d": (IMAGE, L.Conv2DTranspose(6, 3, 2, "same"), "TRANSPOSE_CONV"),
    "transposed 2d valid": (IMAGE, L.Conv2DTranspose(6, 3, 2), "TRANSPOSE_CONV"),
    "transposed 2d relu": (
        IMAGE,
        L.Conv2DTranspose(6, 2, 2, activation="relu"),
        "TRANSPOSE_CONV",
    ),
    "transposed 2d relu6": (
        IMAGE,
        L.Conv2DTranspose(6, 2, 2, activation="relu6"),
        "TRANSPOSE_CONV",
    ),
    "dense 2d": ((12,), L.Dense(6), "FULLY_CONNECTED"),
    "dense 3d": (SEQUENCE, L.Dense(6, activation="relu"), "FULLY_CONNECTED"),
    "dense 4d": (IMAGE, L.Dense(6), "FULLY_CONNECTED"),
}


@pytest.mark.parametrize("case", CASES)
def test_convolution(case, tmp_path):
    shape, layer, kind = CASES[case]
    model = as_after_training(keras.Sequential([keras.Input(shape), layer]))
    qmodel = check(model, tmp_path)
    assert kind in kinds_of(qmodel)
    reloaded(qmodel, tmp_path)


@pytest.mark.parametrize("case", ["conv 1d causal", "separable 1d", "transposed 2d", "dense 3d"])
@pytest.mark.parametrize("activation", ["relu6", "hard_silu"])
def test_normalization_and_activation_fold(case, activation, tmp_path):
    shape, layer, kind = CASES[case]
    layer = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    model = keras.Sequential(
        [keras.Input(shape), layer, L.BatchNormalization(), L.Activation(activation)]
    )
    qmodel = check(as_after_training(model), tmp_path, tolerance=0.1)
    kinds = kinds_of(qmodel)
    assert "DEPTHWISE_CONV_2D" not in kinds or case.startswith("separable")
    # A Dense layer with a factor a channel is a convolution.
    assert ("CONV_2D" if kind == "FULLY_CONNECTED" else kind) in kinds


def test_dense_has_one_scale_unless_it_is_a_convolution():
    alone = keras.Sequential([keras.Input((12,)), L.Dense(6)])
    (operator,) = freeze(calibrated(alone)).operators
    assert len(operator.weights.scales) == 1
    normalized = keras.Sequential([keras.Input((12,)), L.Dense(6), L.BatchNormalization()])
    operators = freeze(calibrated(as_after_training(normalized))).operators
    assert [op.kind for op in operators] == ["RESHAPE", "CONV_2D", "RESHAPE"]
    assert len(operators[1].weights.scales) == 6


REFUSED = [
    (L.Conv1D(4, 3, data_format="channels_first", name="a"), "channels_first"),
    (L.Conv2DTranspose(4, 3, dilation_rate=2, name="a"), "dilation"),
    (L.Conv2DTranspose(4, 2, 3, name="a"), "leaves gaps"),
    (L.Conv2DTranspose(4, 3, 2, "same", output_padding=1, name="a"), "output_padding"),
]


@pytest.mark.parametrize(("layer", "said"), REFUSED)
def test_what_cannot_be_computed_is_said_by_name(layer, said):
    shape = SEQUENCE if isinstance(layer, L.Conv1D) else IMAGE
    model = keras.Sequential([keras.Input(shape), layer])
    with pytest.raises(ValueError, match=f"'a' .*{said}"):
        mq.quantize(model)


def test_the_edge_tpu_has_no_grouped_convolutions():
    model = keras.Sequential([keras.Input(IMAGE), L.Conv2D(4, 3, groups=2, name="a")])
    with pytest.raises(ValueError, match="'a' .*2 groups.*'edgetpu'"):
        mq.quantize(model, target="edgetpu")


@pytest.mark.parametrize("recipe", ["w4a4", "w2a2", "w4a8", "ternary-a8"])
def test_other_recipes(recipe):
    model = keras.Sequential(
        [
            keras.Input(SEQUENCE),
            L.Conv1D(8, 3, padding="causal", activation="relu"),
            L.SeparableConv1D(8, 3),
            L.Conv1DTranspose(8, 4, 2),
            L.DepthwiseConv1D(3),
            L.Dense(4),
            L.BatchNormalization(),
        ]
    )
    qmodel = calibrated(as_after_training(model), recipe)
    x = sample(model)
    assert outputs(qmodel, x)[0].shape == outputs(model, x)[0].shape
