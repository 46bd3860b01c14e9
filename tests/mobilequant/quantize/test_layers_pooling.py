"""Pooling in one and two dimensions: integers equal to the file's."""

import keras
import pytest
from layer_checks import check, images, reloaded

import mobilequant as mq
from mobilequant.quantize import freeze

L = keras.layers
IMAGE, SEQUENCE = (8, 8, 3), (16, 3)

CASES = {
    "max 2d": (IMAGE, L.MaxPooling2D(2), {"MAX_POOL_2D": 1}),
    "max 2d same": (IMAGE, L.MaxPooling2D(3, 2, padding="same"), {"MAX_POOL_2D": 1}),
    "max 1d": (SEQUENCE, L.MaxPooling1D(3, 2), {"MAX_POOL_2D": 1, "RESHAPE": 2}),
    "max 1d same": (SEQUENCE, L.MaxPooling1D(3, 2, "same"), {"MAX_POOL_2D": 1, "RESHAPE": 2}),
    "average 2d": (IMAGE, L.AveragePooling2D(2), {"AVERAGE_POOL_2D": 1}),
    "average 2d same": (IMAGE, L.AveragePooling2D(3, 2, "same"), {"AVERAGE_POOL_2D": 1}),
    "average 2d oblong": (IMAGE, L.AveragePooling2D((2, 3), (1, 2)), {"AVERAGE_POOL_2D": 1}),
    "average 1d": (SEQUENCE, L.AveragePooling1D(4), {"AVERAGE_POOL_2D": 1, "RESHAPE": 2}),
    "average 1d same": (
        SEQUENCE,
        L.AveragePooling1D(3, 2, "same"),
        {"AVERAGE_POOL_2D": 1, "RESHAPE": 2},
    ),
    "global max 2d": (IMAGE, L.GlobalMaxPooling2D(), {"MAX_POOL_2D": 1, "RESHAPE": 1}),
    "global max 2d kept": (IMAGE, L.GlobalMaxPooling2D(keepdims=True), {"MAX_POOL_2D": 1}),
    "global max 1d": (SEQUENCE, L.GlobalMaxPooling1D(), {"MAX_POOL_2D": 1, "RESHAPE": 2}),
    "global max 1d kept": (
        SEQUENCE,
        L.GlobalMaxPooling1D(keepdims=True),
        {"MAX_POOL_2D": 1, "RESHAPE": 2},
    ),
    "global average 2d": (IMAGE, L.GlobalAveragePooling2D(), {"MEAN": 1}),
    "global average 2d kept": (IMAGE, L.GlobalAveragePooling2D(keepdims=True), {"MEAN": 1}),
    "global average 1d": (SEQUENCE, L.GlobalAveragePooling1D(), {"MEAN": 1}),
    "global average 1d kept": (SEQUENCE, L.GlobalAveragePooling1D(keepdims=True), {"MEAN": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_pooling(case, tmp_path):
    shape, layer, kinds = CASES[case]
    model = keras.Sequential([keras.Input(shape), layer])
    reloaded(check(model, tmp_path, kinds), tmp_path)


@pytest.mark.parametrize("layer", [L.MaxPooling2D(2), L.AveragePooling2D(2)])
def test_pooling_keeps_the_grid_of_what_comes_before_it(layer, tmp_path):
    model = keras.Sequential(
        [keras.Input(IMAGE), L.Conv2D(4, 3, activation="relu"), layer, L.Conv2D(4, 3)]
    )
    qmodel = check(model, tmp_path)
    clone = keras.models.clone_model(qmodel)
    assert clone.count_params() == qmodel.count_params()
    before, pooled, _ = (op.outputs[0] for op in freeze(qmodel).operators)
    assert before.same_grid(pooled)


def test_channels_first_is_refused_by_name():
    model = keras.Sequential(
        [keras.Input(IMAGE), L.MaxPooling2D(2, data_format="channels_first", name="pool")]
    )
    with pytest.raises(ValueError, match=r"'pool' \(MaxPooling2D\): data_format"):
        mq.quantize(model)


def test_pooling_stays_float_at_low_precision():
    model = keras.Sequential(
        [keras.Input(IMAGE), L.Conv2D(4, 3), L.AveragePooling2D(2), L.MaxPooling2D(2)]
    )
    qmodel = mq.calibrate(mq.quantize(model, "w4a4"), images(), verbose=0)
    assert [type(layer) for layer in qmodel.layers[-2:]] == [L.AveragePooling2D, L.MaxPooling2D]
    assert qmodel(images()).shape == (16, 1, 1, 4)
