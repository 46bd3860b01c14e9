"""Every builder: sizes, levels, graphs; and what all of them do with the same arguments."""

import inspect
import json

import keras
import numpy as np
import pytest

import mobilequant.models as models
from mobilequant.models import GARDEN

#: timm's name of each model that timm_counts.json holds.
IN_TIMM = {
    "mobilenetv2_050": ("MobileNetV2", {"alpha": 0.5}),
    "mobilenetv2_100": ("MobileNetV2", {}),
    "mobilenetv2_140": ("MobileNetV2", {"alpha": 1.4}),
    "mobilenetv3_large_100": ("MobileNetV3Large", {}),
    "tf_mobilenetv3_large_100": ("MobileNetV3Large", {}),
    "tf_mobilenetv3_large_minimal_100": ("MobileNetV3Large", {"minimalistic": True}),
    "tf_mobilenetv3_small_100": ("MobileNetV3Small", {}),
    "tf_mobilenetv3_small_minimal_100": ("MobileNetV3Small", {"minimalistic": True}),
    "mobilenet_edgetpu_100": ("MobileNetEdgeTPU", {}),
    "mobilenetv4_conv_small": ("MobileNetV4ConvSmall", {}),
    "mobilenetv4_conv_small_035": ("MobileNetV4ConvSmall", {"alpha": 0.35}),
    "mobilenetv4_conv_small_050": ("MobileNetV4ConvSmall", {"alpha": 0.5}),
    "mobilenetv4_conv_medium": ("MobileNetV4ConvMedium", {}),
    "mobilenetv4_conv_large": ("MobileNetV4ConvLarge", {}),
    "mobilenetv4_hybrid_medium": ("MobileNetV4HybridMedium", {}),
    "mobilenetv4_hybrid_large": ("MobileNetV4HybridLarge", {}),
}


def _size(weights) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize("name", GARDEN)
def test_parameters_levels_and_layers_are_those_of_the_authors(architectures, name):
    facts = architectures[name]
    model = GARDEN[name]((224, 224, 3), classes=10)
    classifier = [layer for layer in model.layers if layer.weights][-1]
    extra = _size(classifier.weights)
    assert extra == (classifier.kernel.shape[-2] + 1) * 10
    assert _size(model.trainable_weights) - extra == facts["trainable_params_without_classifier"]
    assert model.count_params() - extra == facts["total_params_without_classifier"]
    assert model.output_shape == (None, 10) and model.name.endswith("_1.00_224")
    own = {type(x) for x in model.layers if not type(x).__module__.startswith("keras.")}
    assert own == ({models.LayerScale} if "Hybrid" in name else set())
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)

    levels = [f"level{level}" for level in facts["endpoints_at_224"]]
    strides = [f"stride{2**i}" for i in range(1, 6)]
    outputs = GARDEN[name](
        (224, 224, 3), include_top=False, features=[*levels, *strides, "final"]
    ).output
    shapes = {f"level{n}": tuple(shape) for n, shape in facts["endpoints_at_224"].items()}
    assert {level: outputs[level].shape[1:] for level in levels} == shapes
    for i, stride in enumerate(strides, start=1):
        assert outputs[stride].shape[1] == 224 / 2**i
        # The last of the authors' levels at this stride.
        at_stride = [s for s in shapes.values() if s[0] == 224 / 2**i]
        assert not at_stride or outputs[stride].shape[1:] == at_stride[-1]


@pytest.mark.parametrize("name", IN_TIMM)
def test_parameters_and_multiply_adds_are_those_of_timm(shared, name):
    facts = json.loads((shared / "reference/timm_counts.json").read_text())
    assert set(facts) == set(IN_TIMM)
    builder, options = IN_TIMM[name]
    model = GARDEN[builder](**options)
    assert model.input_shape == (None, facts[name]["input"], facts[name]["input"], 3)
    count = models.count(model)
    assert count.trainable_parameters == facts[name]["params"]
    assert count.multiply_adds == pytest.approx(facts[name]["macs_conv_linear"], rel=1e-3)


@pytest.mark.parametrize("name", GARDEN)
def test_documentation_and_signature_are_whole(name):
    builder = getattr(models, name)
    assert builder.__name__ == name and builder is GARDEN[name]
    parameters = inspect.signature(builder).parameters
    text = inspect.getdoc(builder)
    assert not text.startswith("Args")
    for parameter in parameters:
        assert f"\n    {parameter}: " in text, parameter
    size = parameters["input_shape"].default[0]
    assert f"{size}×{size}" in text and "{" not in text.replace('{"stride2"', "")
    for section in ("\nArgs:\n", "\nReturns:\n", "\nRaises:\n"):
        assert text.count(section) == 1


def test_an_unknown_argument_names_the_builder():
    with pytest.raises(TypeError, match=r"MobileNetV4ConvSmall\(\).*'alhpa'"):
        models.MobileNetV4ConvSmall(alhpa=0.5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MobileNetV1", {}),
        ("MobileNetV3Small", {}),
        ("MobileNetV3Small", {"minimalistic": True}),
        ("MobileNetEdgeTPU", {}),
        ("MobileNetV4ConvSmall", {"padding": "symmetric"}),
        ("MobileNetV4HybridMedium", {"stochastic_depth": 0.2}),
    ],
)
def test_trains_and_round_trips(tmp_path, images, randomize, name, options):
    model = randomize(GARDEN[name]((64, 64, 3), 3, alpha=0.35, dropout=0.2, **options))
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    before = [np.array(weight) for weight in model.trainable_weights]
    model.fit(images((64, 64, 3), 4), np.array([0, 1, 2, 0]), verbose=0)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.trainable_weights, strict=True)]
    assert np.mean(moved) > 0.85  # a saturated softmax leaves some gradients at 0
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = images((64, 64, 3))
    expected = model(x, training=False).numpy()
    assert np.ptp(expected) > 1e-3
    np.testing.assert_array_equal(loaded(x, training=False), expected)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("name", ["MobileNetV1", "MobileNetV3Small", "MobileNetV4HybridMedium"])
def test_odd_sizes_and_other_channels(images, name, padding):
    backbone = GARDEN[name](
        (75, 49, 1), alpha=0.35, include_top=False, features=True, padding=padding
    )
    outputs = backbone(images((75, 49, 1)))
    sizes = [outputs[f"stride{2**i}"].shape[1:3] for i in range(1, 6)]
    assert sizes == [(38, 25), (19, 13), (10, 7), (5, 4), (3, 2)]
    assert all(np.isfinite(output).all() for output in outputs.values())


def test_sizes_may_be_open(images):
    model = models.MobileNetV3Small((None, None, 3), 4, alpha=0.35)
    assert model(images((40, 56, 3))).shape == (2, 4)
    with pytest.raises(ValueError, match="whole number for height and width"):
        models.MobileNetV4HybridMedium((None, None, 3), alpha=0.35)


@pytest.mark.parametrize("name", ["MobileNetV1", "MobileNetV2", "MobileNetV4ConvMedium"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_the_strided_network_samples_the_dilated_one(images, randomize, name, output_stride):
    """With symmetric padding exactly so: dilation keeps the taps on the strided grid."""
    options = {"alpha": 0.35, "include_top": False, "padding": "symmetric"}
    strided = randomize(GARDEN[name]((96, 96, 3), **options))
    dense = GARDEN[name]((96, 96, 3), output_stride=output_stride, **options)
    dense.set_weights(strided.get_weights())
    x, step = images((96, 96, 3)), 32 // output_stride
    expected = strided(x).numpy()
    assert dense.output_shape[1:3] == (96 // output_stride,) * 2
    np.testing.assert_allclose(
        dense(x)[:, ::step, ::step], expected, rtol=0, atol=1e-5 * expected.std() + 1e-5
    )


def test_stochastic_depth_grows_and_needs_residuals():
    model = models.MobileNetV2((32, 32, 3), 3, alpha=0.35, stochastic_depth=0.4)
    rates = [x.rate for x in model.layers if isinstance(x, models.StochasticDepth)]
    assert len(rates) == 10 and rates == sorted(rates) and 0 < rates[0] < rates[-1] <= 0.4
    with pytest.raises(ValueError, match="no residual"):
        models.MobileNetV1((32, 32, 3), stochastic_depth=0.4)


def test_levels_by_name():
    backbone = models.MobileNetV3Large(
        (64, 64, 3),
        include_top=False,
        output_stride=16,
        features=("stride8_first", "stride8", "stride16", "stride8_expansion", "final"),
    )
    shapes = {name: tensor.shape[1:] for name, tensor in backbone.output.items()}
    assert shapes == {
        "stride8_first": (8, 8, 40),
        "stride8": (8, 8, 40),
        "stride16": (4, 4, 160),
        "stride8_expansion": (8, 8, 240),
        "final": (4, 4, 960),
    }
    assert backbone.output["stride8_first"] is not backbone.output["stride8"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": True}, "include_top=False"),
        ({"include_top": False, "features": ["stride64"]}, "'stride64'.*'stride32'"),
        ({"include_top": False, "features": []}, "features=.*must be True"),
        ({"include_top": False, "features": True, "pooling": "avg"}, "features=True gives maps"),
        ({"padding": "valid"}, '"same".*"symmetric".*\'valid\''),
        ({"batch_norm_epsilon": 0}, "batch_norm_epsilon"),
        ({"output_stride": 4}, "output_stride must be"),
        ({"stochastic_depth": 1}, "stochastic_depth must be"),
        ({"weights": "imagenet"}, "mobilenetv2.*not for mobilenetv4_conv_small"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.MobileNetV4ConvSmall(**{"input_shape": (32, 32, 3), **arguments})
