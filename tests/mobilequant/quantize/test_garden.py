"""Every model of the garden: quantizes, trains a step, saves, loads, converts, and agrees."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant.models.builder import build
from mobilequant.models.mobilenet_v4_hybrid import MOBILENET_V4_HYBRID_MEDIUM
from mobilequant.models.public import GARDEN

#: Narrow and small, so that all of them fit into CI; `benchmarks/garden.py` takes them whole.
SIZE, ALPHA, CLASSES = 64, 0.25, 20


def after_a_short_training(build, **options):
    """A model whose weights and statistics are those of a network at work."""
    keras.utils.set_random_seed(0)
    model = build(
        (SIZE, SIZE, 3),
        CLASSES,
        alpha=ALPHA,
        batch_norm_momentum=0.5,
        classifier_activation=None,
        **options,
    )
    for layer in model.layers:
        if isinstance(layer, mq.layers.LayerScale):
            layer.gamma.assign(0.2 * np.ones(layer.gamma.shape))
    # Eagerly: a few steps take less time than tracing them.
    model.compile(keras.optimizers.Adam(3e-3), loss(), run_eagerly=True)
    model.fit(images(16), np.arange(16) % CLASSES, batch_size=8, epochs=2, verbose=0)
    return model


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def images(count, seed=0):
    """Smooth random pictures in [−1, 1]."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 8, 8, 3)).astype("float32")
    return np.asarray(keras.ops.image.resize(coarse, (SIZE, SIZE), interpolation="bilinear"))


#: Models made of the blocks of a smaller one, or of `short_hybrid`; benchmarks/garden.py measures
#: them at full size.
OF_THE_SAME_BLOCKS = (
    "MobileNetMultiAVG",
    "MobileNetMultiAVGSeg",
    "MobileNetMultiMAX",
    "MobileNetMultiMAXSeg",
    "MobileNetV3Large",
    "MobileNetV4ConvLarge",
    "MobileNetV4ConvMedium",
    "MobileNetV4ConvMediumSeg",
    "MobileNetV4HybridLarge",
    "MobileNetV4HybridMedium",
)


def short_hybrid(*arguments, **options):
    """MobileNetV4HybridMedium with two of its eight attentions (and 14 of its 35 rows).

    One attention is over the pixels themselves, one over fewer keys and values.
    """
    kept = (0, 1, 2, 3, 4, 5, 8, 15, 16, 24, 31, 32, 33, 34)
    rows = tuple(MOBILENET_V4_HYBRID_MEDIUM.rows[index] for index in kept)
    bound = inspect.signature(GARDEN["MobileNetV4HybridMedium"]).bind(*arguments, **options)
    bound.apply_defaults()
    short = dataclasses.replace(MOBILENET_V4_HYBRID_MEDIUM, rows=rows, stages=())
    return build(short, **bound.arguments)


@pytest.mark.parametrize(
    "name",
    [
        "short_hybrid",
        *(
            pytest.param(name, marks=[pytest.mark.slow] if name in OF_THE_SAME_BLOCKS else [])
            for name in sorted(GARDEN)
        ),
    ],
)
def test_every_model_agrees_with_its_file(name, tmp_path):
    model = after_a_short_training(GARDEN.get(name, short_hybrid))
    for recipe in ("w8a8", "w4a8"):
        qmodel = mq.calibrate(mq.quantize(model, recipe), images(8), verbose=0)
        if recipe == "w8a8":
            qmodel.compile(keras.optimizers.Adam(1e-4), loss(), run_eagerly=True)
            qmodel.fit(images(4), np.arange(4), verbose=0)
            qmodel.save(tmp_path / "q.keras")
            qmodel = keras.models.load_model(tmp_path / "q.keras")
        path = tmp_path / "m.tflite"
        report = tflite_tools.convert(qmodel, path, samples=images(2))
        assert not {"HARD_SWISH", "QUANTIZE", "DEQUANTIZE"} & set(report.operators)
        assert set(report.tensors) <= {"INT8", "INT32"}
        assert ("BATCH_MATMUL" in report.operators) == ("ybrid" in name)
        result = tflite_tools.verify(qmodel, path, images(6, seed=1), layers=True)
        assert result.first_difference is None, result.first_difference
        assert result.span > 50


@pytest.mark.parametrize(
    "name", [pytest.param("MobileNetV3Large", marks=pytest.mark.slow), "MobileNetV3Small"]
)
def test_minimalistic_models_agree_too(name, tmp_path):
    model = after_a_short_training(GARDEN[name], minimalistic=True)
    qmodel = mq.calibrate(mq.quantize(model), images(8), verbose=0)
    report = tflite_tools.convert(qmodel, tmp_path / "m.tflite")
    assert "MUL" not in report.operators
    assert tflite_tools.verify(qmodel, tmp_path / "m.tflite", images(4, seed=1)).equal == 1


@pytest.mark.slow  # builds the whole garden
def test_the_edge_tpu_takes_every_model_but_those_with_attention():
    refused = {}
    for name, builder in GARDEN.items():
        model = builder((SIZE, SIZE, 3), CLASSES, alpha=ALPHA)
        try:
            mq.quantize(model, target="edgetpu")
        except ValueError as error:
            refused[name] = str(error)
    assert set(refused) == {"MobileNetV4HybridMedium", "MobileNetV4HybridLarge"}
    assert all("BATCH_MATMUL" in message for message in refused.values())


@pytest.mark.parametrize("padding", [pytest.param("same", marks=pytest.mark.slow), "symmetric"])
def test_backbones_give_every_level_as_integers(padding, tmp_path):
    keras.utils.set_random_seed(0)
    model = mq.models.MobileNetV3Small(
        (SIZE, SIZE, 3),
        alpha=0.5,
        include_top=False,
        features=True,
        padding=padding,
        batch_norm_momentum=0.5,
    )
    x = images(8)
    model.compile("adam", {name: "mse" for name in model.output}, run_eagerly=True)
    targets = {k: np.zeros((8, *v.shape[1:])) for k, v in model.output.items()}
    model.fit(x, targets, batch_size=4, epochs=3, verbose=0)
    qmodel = mq.calibrate(mq.quantize(model), x, verbose=0)
    assert set(qmodel.output) == {"stride2", "stride4", "stride8", "stride16", "stride32"}
    path = tmp_path / "m.tflite"
    report = tflite_tools.convert(qmodel, path)
    assert ("PAD" in report.operators) == (padding == "symmetric")
    assert tflite_tools.verify(qmodel, path, images(4, seed=1)).equal == 1


SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in sorted(GARDEN)
    if name != "MobileNetV3Small"
]


@pytest.mark.parametrize("name", ["MobileNetV3Small", *SLOW])
def test_every_model_calibrates_without_data(name):
    model = after_a_short_training(GARDEN[name])
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images(32), training=True)  # statistics that are those of the images
    x = images(8, seed=1)
    expected = np.asarray(model(x, training=False))

    def error(*data, **options):
        qmodel = mq.calibrate(mq.quantize(model), *data, verbose=0, **options)
        noise = np.asarray(qmodel(x, training=False)) - expected
        return np.sqrt(np.square(noise).sum() / np.square(expected - expected.mean()).sum())

    assert error(method="data_free") < 0.05 + 2 * error(images(32))
