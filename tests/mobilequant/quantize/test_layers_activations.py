"""Activations as layers, strings and functions: behind a convolution, and alone."""

import functools

import keras
import numpy as np
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
    "relu with a threshold": (L.ReLU(threshold=0.5), {"ADD": 1, "MUL": 2}),
    "relu with a threshold below 0": (
        functools.partial(A.relu, threshold=-1.0),
        {"ADD": 1, "MUL": 2},
    ),
    "relu with a threshold and a top": (L.ReLU(3.0, threshold=0.5), {"ADD": 1, "MUL": 2}),
    "relu with a threshold below 0 and a top": (
        functools.partial(A.relu, max_value=3.0, threshold=-1.0),
        {"ADD": 1, "MUL": 2},
    ),
    "relu with everything": (
        L.ReLU(3.0, negative_slope=0.3, threshold=0.5),
        {"ADD": 1, "MUL": 3, "SUB": 2},
    ),
    "relu with a threshold, falling": (
        functools.partial(A.relu, negative_slope=-0.2, threshold=-0.7),
        {"ADD": 2, "MUL": 3, "SUB": 1},
    ),
    "prelu": (L.PReLU(shared_axes=[1, 2]), {"PRELU": 1}),
    "prelu of every element": (L.PReLU(), {"PRELU": 1}),
    "elu": (L.ELU(), {"ELU": 1}),
    "elu with alpha": (L.ELU(alpha=0.5), {"ELU": 1, "MUL": 1, "QUANTIZE": 1, "ADD": 1}),
    "elu with a large alpha": (L.ELU(alpha=3.0), {"ELU": 1, "MUL": 1, "QUANTIZE": 1, "ADD": 1}),
    "softplus": ("softplus", {"ABS": 1, "LOGISTIC": 1, "LOG": 1, "QUANTIZE": 1, "SUB": 1}),
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
    # A jump that comes a step early or late is a large error.
    tolerance = None if "threshold" in case or "everything" in case else 0.06
    qmodel = check(as_after_training(model), tmp_path, kinds, tolerance=tolerance)
    if not isinstance(activation, functools.partial):
        reloaded(qmodel, tmp_path)


STRINGS = [
    "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "hard_silu", "hard_sigmoid", "sigmoid",
    "softplus", "tanh", "softmax",
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
        (L.ELU(alpha=-0.5, name="a"), "alpha -0.5.*above 0"),
        (L.Activation("selu", name="a"), "'selu' has no rule.*relu"),
        (L.Softmax((1, 2), name="a"), "single one"),
        (L.Conv2D(4, 3, activation="selu", name="a"), "selu"),
    ],
)
def test_what_has_no_integers_is_said_by_name(layer, said):
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    with pytest.raises(ValueError, match=rf"'a' \({type(layer).__name__}\): .*{said}"):
        mq.quantize(model)


def errors_in_steps(layer, low, high):
    """Inference against the float function of the integers that it takes."""
    x = np.linspace(low, high, 997, dtype="float32").reshape(1, -1)
    qmodel = mq.quantize(keras.Sequential([keras.Input((997,)), layer]))
    mq.calibrate(qmodel, x, verbose=0)
    on_grid = qmodel.layers[1](x)
    step = float(qmodel.layers[-1].output_quantizer.grid().scale)
    return np.asarray(on_grid)[0], np.asarray(qmodel(x) - layer(on_grid))[0] / step


@pytest.mark.parametrize(("low", "high"), [(-8, 8), (-3, 1), (-1, 6), (-20, 0.5), (0.2, 3)])
@pytest.mark.parametrize("activation", ["softplus", "elu"])
def test_error_of_composed_activations(activation, low, high):
    layer = L.ELU(alpha=0.7) if activation == "elu" else L.Activation(activation)
    _, error = errors_in_steps(layer, low, high)
    assert np.abs(error).max() < 1.6 and np.sqrt(np.mean(error**2)) < 0.9


@pytest.mark.parametrize(("low", "high"), [(-4, 4), (-6, 1), (0.1, 5), (-3, -0.1)])
@pytest.mark.parametrize("threshold", [-2.5, -0.01, 0.013, 0.5, 0.9, 7.0, -9.0])
@pytest.mark.parametrize("slope", [0.0, 0.4])
def test_a_threshold_lies_between_two_integers(threshold, low, high, slope):
    """Nothing passes that should not, wherever the threshold lies in the range, or outside."""
    function = functools.partial(A.relu, negative_slope=slope, threshold=threshold)
    layer = L.Activation(function)
    x, error = errors_in_steps(layer, low, high)
    # On the threshold itself rounding decides.
    near = np.abs(x - threshold) < 1e-5
    assert np.abs(error[~near]).max() < 1.1


@pytest.mark.parametrize("activation", ["gelu", "elu", "leaky_relu"])
def test_the_edge_tpu_refuses_by_name(activation):
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Activation(activation, name="a")])
    with pytest.raises(ValueError, match=f"'a'.*does not run {activation.upper()}"):
        mq.quantize(model, target="edgetpu")


@pytest.mark.parametrize(
    ("activation", "advice"),
    [
        ("gelu", "Replace them: TFLite 2.5 does not run all of them in float either"),
        ("softplus", r"leave them in float with leave_float=\['act'\]:"),
    ],
)
def test_an_old_runtime_refuses_the_activation_and_says_what_to_use(activation, advice):
    layers = [
        L.Conv2D(4, 3, name="cc"),
        L.BatchNormalization(),
        L.Activation(activation, name="act"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    with pytest.raises(ValueError, match=advice) as error:
        mq.quantize(model, target="phone-2.5")
    assert "\n  'act' (Activation): target 'phone-2.5' does not run" in str(error.value)
    assert "which this layer needs; use 'relu'" in str(error.value)
    assert "'cc'" not in str(error.value)


def test_low_precision_leaves_them_in_float():
    softplus = L.Conv2D(4, 3, activation="softplus")
    layers = [L.PReLU(), L.LeakyReLU(), L.ELU(), L.ReLU(1.0, 0.1, 0.5), L.Softmax(1)]
    layers.append(L.Activation("selu"))
    model = keras.Sequential([keras.Input((8, 8, 3)), softplus, *layers, L.Conv2D(4, 1)])
    qmodel = mq.calibrate(mq.quantize(model, "w2a2"), images(), verbose=0)
    assert qmodel(images()).shape == (16, 6, 6, 4)
