"""The table of targets: names, older runtimes, families."""

import keras
import pytest

import mobilequant as mq
from mobilequant import operator_versions, targets


def test_a_release_by_number():
    assert targets.get("phone-2.9").runtime == "2.9"
    assert targets.get("phone-2.9").operators == targets.legacy("2.9.0").operators
    assert targets.get(targets.get("phone-2.9").name).name == "phone-2.9"
    assert targets.get("phone-legacy").runtime == "2.14"
    assert targets.get("phone-2.23.9").operators == targets.get("phone").operators


@pytest.mark.parametrize(
    ("release", "operator", "version"),
    [
        ("1.14", "CONV_2D", 3),
        ("2.8.4", "CONV_2D", 3),
        ("2.9", "CONV_2D", 6),
        ("1.15", "FULLY_CONNECTED", 4),
        ("2.0", "FULLY_CONNECTED", 5),
        # The newest one has a scale for each channel, which no XNNPACK of int8 takes.
        ("2.21", "FULLY_CONNECTED", 5),
        ("2.3.9", "SLICE", 2),
        ("2.5", "SLICE", 5),
        ("2.8", "GELU", None),
        ("2.14", "GELU", 2),
        ("2.14", "LOG", None),
        ("2.15", "LOG", 2),
    ],
)
def test_versions_that_a_release_runs(release, operator, version):
    assert targets.legacy(release).operators.get(operator) == version


def test_a_newer_runtime_takes_no_less():
    releases = ["1.14", "1.15", *(f"2.{minor}" for minor in range(22))]
    for older, newer in zip(releases, releases[1:], strict=False):
        before, after = targets.legacy(older).operators, targets.legacy(newer).operators
        assert all(version <= after[kind] for kind, version in before.items()), newer
    assert targets.legacy("2.21").operators == targets.get("phone").operators


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tablet", "'tablet'; the targets are 'phone'.*'phone-legacy'.*'edgetpu'.*'phone-2.9'"),
        (None, "Unknown target None"),
        ("phone-old", "Unknown target 'phone-old'"),
        ("phone-2", "'2' is no TFLite release"),
        ("phone-2.x", "'2.x' is no TFLite release"),
        ("phone-99.9", "no TFLite 99.9, or it is newer.*up to 2.23.0; target='phone' is for the"),
        ("phone-2.24.1", "no TFLite 2.24.1"),
        ("phone-1.13.1", "TFLite 1.13.1 does not run files with int8 weights; 1.14 is the first"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        targets.get(name)


def test_versions_of_all_and_of_none():
    newest = operator_versions.highest()
    assert newest["FULLY_CONNECTED"] == 12
    assert set(newest) == set(operator_versions.WRITTEN)


def test_quantize_says_what_an_older_runtime_lacks():
    image = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3, groups=2, name="grouped")(image)
    x = keras.layers.MaxPooling2D()(x)
    model = keras.Model(image, keras.layers.Activation("gelu", name="smooth")(x))
    mq.quantize(model, target="phone-legacy")
    with pytest.raises(ValueError, match="(?s)phone-2.8.*'grouped'.*use a DepthwiseConv2D.*GELU"):
        mq.quantize(model, target="phone-2.8")
