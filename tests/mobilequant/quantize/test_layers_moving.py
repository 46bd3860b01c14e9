"""Layers that move, select, repeat and interpolate: integers equal to the file's."""

import keras
import pytest
from layer_checks import check, outputs, reloaded, sample

import mobilequant as mq
import tflite_tools

L = keras.layers
IMAGE, SEQUENCE, VECTOR = (8, 6, 3), (16, 3), (24,)

CASES = {
    "permute": (IMAGE, L.Permute((3, 1, 2)), {"TRANSPOSE": 1}),
    "permute a sequence": (SEQUENCE, L.Permute((2, 1)), {"TRANSPOSE": 1}),
    "reshape": (IMAGE, L.Reshape((6, 24)), {"RESHAPE": 1}),
    "flatten": (IMAGE, L.Flatten(), {"RESHAPE": 1}),
    "pad": (IMAGE, L.ZeroPadding2D(((1, 2), (0, 3))), {"PAD": 1}),
    "pad a sequence": (SEQUENCE, L.ZeroPadding1D((2, 1)), {"PAD": 1}),
    "crop": (IMAGE, L.Cropping2D(((1, 2), (0, 3))), {"SLICE": 1}),
    "crop a sequence": (SEQUENCE, L.Cropping1D((2, 1)), {"SLICE": 1}),
    "nearest": (IMAGE, L.UpSampling2D((2, 3)), {"RESIZE_NEAREST_NEIGHBOR": 1}),
    "nearest of a sequence": (
        SEQUENCE,
        L.UpSampling1D(3),
        {"RESIZE_NEAREST_NEIGHBOR": 1, "RESHAPE": 2},
    ),
    "bilinear": (IMAGE, L.UpSampling2D(2, interpolation="bilinear"), {"RESIZE_BILINEAR": 1}),
    "resize": (IMAGE, L.Resizing(5, 9), {"RESIZE_BILINEAR": 1}),
    "resize nearest": (IMAGE, L.Resizing(5, 9, "nearest"), {"RESIZE_NEAREST_NEIGHBOR": 1}),
    "repeat": (VECTOR, L.RepeatVector(5), {"RESIZE_NEAREST_NEIGHBOR": 1, "RESHAPE": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_moving(case, tmp_path):
    shape, layer, kinds = CASES[case]
    model = keras.Sequential([keras.Input(shape), layer])
    reloaded(check(model, tmp_path, kinds), tmp_path)


def test_training_only_layers_are_gone_at_export(tmp_path):
    model = keras.Sequential(
        [
            keras.Input(IMAGE),
            L.Dropout(0.2),
            L.SpatialDropout2D(0.2),
            L.GaussianNoise(0.1),
            L.Conv2D(4, 3),
            L.AlphaDropout(0.1),
            L.ActivityRegularization(0.1),
        ]
    )
    check(model, tmp_path, {"CONV_2D": 1})


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (L.Resizing(4, 4, "bicubic", name="a"), "bicubic.*'nearest' and 'bilinear'"),
        (L.Resizing(4, 4, antialias=True, name="a"), "antialias"),
        (L.Resizing(4, 4, crop_to_aspect_ratio=True, name="a"), "crop_to_aspect_ratio"),
        (L.UpSampling2D(2, interpolation="lanczos3", name="a"), "lanczos3"),
    ],
)
def test_what_cannot_be_computed_is_said_by_name(layer, said):
    model = keras.Sequential([keras.Input(IMAGE), layer])
    with pytest.raises(ValueError, match=rf"'a' \({type(layer).__name__}\): .*{said}"):
        mq.quantize(model)


def test_many_kinds_train_save_and_agree(tmp_path):
    """A small U-Net with a sequence head, as users write them."""
    image = keras.Input((8, 8, 3), name="image")
    x = L.Rescaling(1 / 2.0, offset=0.1)(image)
    a = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    y = L.MaxPooling2D()(a)
    y = L.SeparableConv2D(8, 3, padding="same", activation="silu")(y)
    y = L.Conv2DTranspose(6, 2, 2)(y)
    y = L.Concatenate()([a, y, L.UpSampling2D()(L.AveragePooling2D(2)(a))])
    y = L.LeakyReLU()(L.BatchNormalization()(L.Conv2D(8, 3, padding="same")(y)))
    y = L.Reshape((64, 8))(y)
    y = L.Conv1D(8, 3, padding="causal", activation="relu")(y)
    y = L.Maximum()([L.GlobalMaxPooling1D()(y), L.GlobalAveragePooling1D()(y)])
    model = keras.Model(image, L.Dense(5)(y))
    x = sample(model)
    qmodel = mq.quantize(model)
    qmodel.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    qmodel.fit(x, outputs(model, x)[0], epochs=3, verbose=0)
    loaded = reloaded(qmodel, tmp_path)

    tflite_tools.convert(loaded, tmp_path / "m.tflite")
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", sample(model, 16, 5), layers=True)
    assert result.first_difference is None and result.span > 50, str(result)
