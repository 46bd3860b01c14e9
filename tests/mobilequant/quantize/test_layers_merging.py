"""Several tensors to one: sums, differences, products, extrema, concatenation."""

import keras
import pytest
from layer_checks import calibrated, check, images, kinds_of, reloaded, sample

import mobilequant as mq
from mobilequant.quantize import freeze

L = keras.layers


def merged(layer, *shapes):
    inputs = [keras.Input(shape, name=f"input_{i}") for i, shape in enumerate(shapes)]
    return keras.Model(inputs, layer(inputs))


SAME = [(8, 8, 3), (8, 8, 3)]
GATE = [(8, 8, 3), (1, 1, 3)]
VECTOR = [(8, 8, 3), (3,)]
OUTER = [(8, 1, 3), (1, 8, 3)]
THREE = [(8, 8, 3), (8, 8, 3), (8, 8, 3)]

MERGES = {
    "add": (L.Add, SAME, {"ADD": 1}),
    "add a gate": (L.Add, GATE, {"ADD": 1}),
    "add a vector": (L.Add, VECTOR, {"ADD": 1, "RESHAPE": 1}),
    "add a vector first": (L.Add, VECTOR[::-1], {"ADD": 1, "RESHAPE": 1}),
    "add crosswise": (L.Add, OUTER, {"ADD": 1}),
    "add three": (L.Add, THREE, {"ADD": 2}),
    "subtract": (L.Subtract, SAME, {"SUB": 1}),
    "subtract a vector": (L.Subtract, VECTOR, {"SUB": 1, "RESHAPE": 1}),
    "multiply": (L.Multiply, SAME, {"MUL": 1}),
    "multiply crosswise": (L.Multiply, OUTER, {"MUL": 1}),
    "multiply three": (L.Multiply, THREE, {"MUL": 2}),
    "maximum": (L.Maximum, SAME, {"MAXIMUM": 1, "QUANTIZE": 2}),
    "maximum of a gate": (L.Maximum, GATE, {"MAXIMUM": 1, "QUANTIZE": 2}),
    "maximum of three": (L.Maximum, THREE, {"MAXIMUM": 2, "QUANTIZE": 3}),
    "minimum": (L.Minimum, SAME, {"MINIMUM": 1, "QUANTIZE": 2}),
    "minimum crosswise": (L.Minimum, OUTER, {"MINIMUM": 1, "QUANTIZE": 2}),
}


@pytest.mark.parametrize("case", MERGES)
def test_merge(case, tmp_path):
    layer, shapes, kinds = MERGES[case]
    model = merged(layer(name="merge"), *shapes)
    reloaded(check(model, tmp_path, kinds), tmp_path)


@pytest.mark.parametrize("layer", [L.Add, L.Subtract, L.Multiply])
def test_merge_absorbs_a_relu(layer, tmp_path):
    model = merged(lambda x: L.ReLU(6.0)(layer(name="merge")(x)), *SAME)
    (operator,) = freeze(check(model, tmp_path)).operators
    assert operator.activation == "RELU6"


@pytest.mark.parametrize(
    ("axis", "shapes"),
    [
        (-1, [(8, 8, 3), (8, 8, 2)]),
        (1, [(4, 8, 3), (2, 8, 3)]),
        (2, [(8, 2, 3), (8, 8, 3), (8, 1, 3)]),
        (1, [(16,), (3,)]),
        (2, [(16, 3), (16, 4)]),
    ],
)
def test_concatenation(axis, shapes, tmp_path):
    model = merged(L.Concatenate(axis), *shapes)
    kinds = {"CONCATENATION": 1, "QUANTIZE": len(shapes) - 1}
    qmodel = calibrated(model)
    # An input that has the output's range needs no QUANTIZE.
    kinds["QUANTIZE"] = sum(kind == "QUANTIZE" for kind in kinds_of(qmodel))
    assert kinds["QUANTIZE"] >= len(shapes) - 1
    reloaded(check(model, tmp_path, kinds), tmp_path)


def test_a_branch_next_to_nothing_is_refused_by_name():
    model = merged(L.Concatenate(name="joined"), *SAME)
    x = sample(model)
    qmodel = mq.calibrate(mq.quantize(model), [[x[0], x[1] * 1e-4]], verbose=0)
    with pytest.raises(ValueError, match=r"Layer 'joined': its input 'input_1' has .*constant"):
        freeze(qmodel)


def test_a_concatenation_of_batches_is_refused_by_name():
    model = merged(L.Concatenate(axis=0, name="joined"), *SAME)
    with pytest.raises(ValueError, match=r"'joined' \(Concatenate\): concatenation of batches"):
        mq.quantize(model)


def test_merges_stay_float_at_low_precision():
    image = keras.Input((8, 8, 3))
    a, b = L.Conv2D(4, 3)(image), L.Conv2D(4, 3)(image)
    x = L.Concatenate()([L.Maximum()([a, b]), L.Minimum()([a, b]), L.Subtract()([a, b])])
    qmodel = mq.calibrate(mq.quantize(keras.Model(image, x), "w4a4"), images(), verbose=0)
    assert qmodel(images()).shape == (16, 6, 6, 12)
