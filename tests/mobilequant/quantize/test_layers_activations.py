"""Activations as layers, strings and functions: behind a convolution, and alone."""

import functools

import keras
import pytest
from layer_checks import as_after_training, calibrated, check, images, kinds_of, reloaded

import mobilequant as mq

L, A = keras.layers, keras.activations

ALONE = {
    "relu": (L.ReLU(), {"QUANTIZE": 1}),
    "relu6": (L.ReLU(6), {"QUANTIZE": 1}),
    "relu1": (L.ReLU(1.0), {"QUANTIZE": 1}),
    "relu with a slope": (L.ReLU(negative_slope=0.1), {"LEAKY_RELU": 1}),
    "relu with a slope and a top": (L.ReLU(2.0, negative_slope=0.3), {"LEAKY_RELU": 1}),
    "leaky": (L.LeakyReLU(negative_slope=0.3), {"LEAKY_RELU": 1}),
    "prelu": (L.PReLU(shared_axes=[1, 2]), {"PRELU": 1}),
    "prelu of every element": (L.PReLU(), {"PRELU": 1}),
    "elu": (L.ELU(), {"ELU": 1}),
    "gelu": ("gelu", {"GELU": 1}),
    "gelu approximate": (functools.partial(A.gelu, approximate=True), {"GELU": 1}),
    "silu": ("silu", {"LOGISTIC": 1, "MUL": 1}),
    "hard_silu": ("hard_silu", {"ADD": 1, "MUL": 2}),
    "hard_sigmoid": ("hard_sigmoid", {"ADD": 1, "MUL": 1}),
    "sigmoid": ("sigmoid", {"LOGISTIC": 1}),
    "tanh": ("tanh", {"TANH": 1}),
    "softmax": (L.Softmax(), {"SOFTMAX": 1}),
    "softmax of rows": (L.Softmax(axis=1), {"SOFTMAX": 1, "TRANSPOSE": 2}),
    "softmax of columns": (L.Softmax(axis=-2), {"SOFTMAX": 1, "TRANSPOSE": 2}),
}


def as_layer(activation):
    return activation if isinstance(activation, L.Layer) else L.Activation(activation)


@pytest.mark.parametrize("case", ALONE)
def test_alone(case, tmp_path):
    activation, kinds = ALONE[case]
    model = keras.Sequential([keras.Input((8, 8, 3)), as_layer(activation)])
    qmodel = check(as_after_training(model), tmp_path, kinds)
    if not isinstance(activation, functools.partial):
        reloaded(qmodel, tmp_path)


STRINGS = [
    "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "hard_silu", "hard_sigmoid", "sigmoid",
    "tanh", "softmax",
]  # fmt: skip


@pytest.mark.parametrize("activation", STRINGS)
def test_within_a_convolution(activation, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3, activation=activation)])
    # Before a function that is flat far out, a range is wider than it needs.
    check(model, tmp_path, tolerance=0.1)
    model = keras.Sequential([keras.Input((6,)), L.Dense(8, activation=activation)])
    assert kinds_of(calibrated(model))[0] == "FULLY_CONNECTED"


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (L.Activation("softplus", name="a"), "softplus.*use relu"),
        (L.ReLU(threshold=1.0, name="a"), "threshold 1 jumps"),
        (L.ELU(alpha=0.5, name="a"), "alpha 0.5"),
        (L.Activation("selu", name="a"), "'selu' has no rule.*relu"),
        (L.Softmax((1, 2), name="a"), "single one"),
        (L.Conv2D(4, 3, activation="softplus", name="a"), "softplus"),
    ],
)
def test_what_has_no_integers_is_said_by_name(layer, said):
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    with pytest.raises(ValueError, match=rf"'a' \({type(layer).__name__}\): .*{said}"):
        mq.quantize(model)


@pytest.mark.parametrize("activation", ["gelu", "elu", "leaky_relu"])
def test_the_edge_tpu_refuses_by_name(activation):
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Activation(activation, name="a")])
    with pytest.raises(ValueError, match=f"'a'.*does not run {activation.upper()}"):
        mq.quantize(model, target="edgetpu")


def test_low_precision_leaves_them_in_float():
    softplus = L.Conv2D(4, 3, activation="softplus")
    layers = [L.PReLU(), L.LeakyReLU(), L.ELU(), L.ReLU(1.0), L.Softmax(1), L.Activation("selu")]
    model = keras.Sequential([keras.Input((8, 8, 3)), softplus, *layers, L.Conv2D(4, 1)])
    qmodel = mq.calibrate(mq.quantize(model, "w2a2"), images(), verbose=0)
    assert qmodel(images()).shape == (16, 6, 6, 4)
