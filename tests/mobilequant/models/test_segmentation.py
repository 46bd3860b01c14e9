"""Segmentation heads: shapes, dilation, what they compute, errors, and files that agree."""

import keras
import numpy as np
import pytest

import mobilequant as mq
import tflite_tools
from mobilequant.models import GARDEN, LRASPP, RASPP

SIZE = (64, 96, 3)
SMALL = {"input_shape": SIZE, "alpha": 0.25, "batch_norm_momentum": 0.5}


def pictures(count=8, seed=0, size=SIZE):
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 8, 12, 3)).astype("float32")
    return np.asarray(keras.ops.image.resize(coarse, size[:2], interpolation="bilinear"))


def masks(images):
    return images.argmax(-1)


def trained(model, epochs=2):
    """Statistics and outputs of a network at work, by a few eager steps."""
    images = pictures(16)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, run_eagerly=True)
    model.fit(images, masks(images), batch_size=8, epochs=epochs, verbose=0)
    return model


@pytest.mark.parametrize(
    ("head", "backbone"),
    [(LRASPP, name) for name in sorted(GARDEN)]
    + [(RASPP, name) for name in ("MobileNetV2", "MobileNetV4HybridMedium")],
)
def test_any_backbone_at_any_output_stride(head, backbone):
    counts = set()
    for stride in (8, 16, 32) if backbone == "MobileNetV2" else (8, 32):
        model = head(backbone, 5, filters=16, output_stride=stride, **SMALL)
        assert model.output_shape == (None, *SIZE[:2], 5)
        counts.add(model.count_params())
        features = model.get_layer("head_conv").input.shape
        assert features[1:3] == (SIZE[0] // stride, SIZE[1] // stride)
    assert len(counts) == 1  # dilation changes no weights


@pytest.mark.parametrize("size", [(65, 97, 3), (50, 33, 1)])
def test_odd_sizes_and_outputs(size):
    options = {"input_shape": size, "alpha": 0.25}
    image = np.random.default_rng(0).normal(size=(2, *size)).astype("float32")
    keras.utils.set_random_seed(0)
    logits = LRASPP("MobileNetV2", 4, **options)
    head = LRASPP("MobileNetV2", 4, output="head", **options)
    classes = LRASPP("MobileNetV2", 4, output="classes", **options)
    for model in (head, classes):
        model.set_weights(logits.get_weights())
    small = np.asarray(head(image))
    assert small.shape[1:3] == (-(-size[0] // 8), -(-size[1] // 8))
    whole = np.asarray(logits(image))
    resized = keras.ops.image.resize(small, size[:2], interpolation="bilinear")
    np.testing.assert_allclose(whole, resized, atol=1e-5)
    indices = np.asarray(classes(image))
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(indices, whole.argmax(-1))


def test_the_score_convolution_commutes_with_the_resize():
    """As published, the head's features are resized and convolved then."""
    keras.utils.set_random_seed(0)
    model = LRASPP("MobileNetV3Small", 4, output="head", **SMALL)
    image = pictures(2)
    get = model.get_layer
    gated, low = keras.Model(model.input, [get("head_gated").output, get("low_classes").output])(
        image
    )
    resized = keras.ops.image.resize(gated, low.shape[1:3], interpolation="bilinear")
    np.testing.assert_allclose(model(image), get("high_classes")(resized) + low, atol=1e-5)


@pytest.mark.parametrize("head", [LRASPP, RASPP])
def test_a_bare_call_is_inference(head):
    """Keras' Resizing would make all layers behind it train, and their statistics move."""
    model = head("MobileNetV2", 3, filters=16, dropout=0.5, **SMALL)
    wanted = np.asarray(model(pictures(2), training=False))
    np.testing.assert_array_equal(model(pictures(2)), wanted)
    np.testing.assert_array_equal(model(pictures(2)), wanted)


def test_a_built_backbone_becomes_a_part_of_the_model():
    backbone = mq.models.MobileNetV2(
        SIZE, alpha=0.35, include_top=False, features=("stride8_first", "final")
    )
    model = LRASPP(backbone, 3)
    assert all(layer in model.layers for layer in backbone.layers)
    own = keras.Sequential([keras.Input(SIZE), keras.layers.Conv2D(8, 3, 4, "same")])
    assert RASPP(own, 3).output_shape == (None, *SIZE[:2], 3)


@pytest.mark.parametrize(
    ("head", "target"),
    [
        (LRASPP, "phone"),
        (RASPP, "edgetpu"),
        pytest.param(LRASPP, "edgetpu", marks=pytest.mark.slow),
        pytest.param(RASPP, "phone", marks=pytest.mark.slow),
    ],
)
def test_files_agree_with_keras(head, target, tmp_path):
    keras.utils.set_random_seed(0)
    model = trained(head("MobileNetV2", 3, filters=32, **SMALL))
    qmodel = mq.calibrate(mq.quantize(model, target=target), pictures(), verbose=0)
    tflite_tools.convert(qmodel, tmp_path / "m.tflite", samples=pictures(2))
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", pictures(4, 1), layers=True)
    assert result.first_difference is None, str(result)
    assert result.span > 50, str(result)
    wanted, found = (np.asarray(each(pictures(4, 1))) for each in (model, qmodel))
    assert np.abs(wanted - found).max() < 0.1 * np.abs(wanted).max()


def test_classes_are_computed_in_the_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = trained(LRASPP("MobileNetV3Small", 3, **SMALL))
    classes = LRASPP("MobileNetV3Small", 3, output="classes", **SMALL)
    classes.set_weights(model.get_weights())
    qmodel = mq.calibrate(mq.quantize(classes), pictures(), verbose=0)
    report = tflite_tools.convert(qmodel, tmp_path / "m.tflite", samples=pictures(2))
    assert report.operators["ARG_MAX"] == 1
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", pictures(4, 1))
    assert result.equal == 1 and result.outputs[0].distinct >= 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": 0}, "classes must be"),
        ({"filters": 1.5}, "filters must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"output": "masks"}, "output='masks' must be one of"),
        ({"backbone": "MobileNetV9"}, "must be one of .*MobileNetV2"),
        ({"input_shape": (None, None, 3)}, "fixed size.*input_shape"),
        ({"output_stride": 4}, "output_stride must be"),
        ({"low_level": "stride3"}, "stride3"),
        ({"weights": "none.safetensors"}, "there is no such file"),
        ({"weights": "a.safetensors", "backbone_weights": "b.h5"}, "no use"),
        ({"activation": "tanh"}, "must be one of relu"),
    ],
)
def test_bad_arguments(options, said):
    with pytest.raises(ValueError, match=said):
        LRASPP(**{"backbone": "MobileNetV2", "classes": 3, **SMALL, **options})


def test_a_built_backbone_takes_no_options():
    one = mq.models.MobileNetV2(SIZE, alpha=0.35, include_top=False)
    with pytest.raises(ValueError, match="gives 1 feature maps, not two"):
        LRASPP(one, 3)
    with pytest.raises(ValueError, match="alpha need a backbone by its name"):
        LRASPP(one, 3, alpha=0.5)


def test_a_file_of_another_head_is_refused(golden_folder):
    path = golden_folder / "ssdlite320_mobilenet_v3_large.safetensors"
    options = {"input_shape": SIZE, "weights": path}
    with pytest.raises(ValueError, match="no file of torchvision's LR-ASPP"):
        LRASPP("MobileNetV3Large", 21, reduced_tail=True, **options)
    path = golden_folder / "lraspp_mobilenet_v3_large.safetensors"
    with pytest.raises(ValueError, match="knows 21 classes: build with classes=21, or"):
        LRASPP("MobileNetV3Large", 7, input_shape=SIZE, weights=path)


@pytest.fixture
def golden_folder(shared):
    pytest.importorskip("safetensors")
    return shared / "reference/goldens"
