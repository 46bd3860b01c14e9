"""Random-weight models of `keras.applications`, saved here, in our models."""

import keras
import numpy as np
import pytest

from mobilequant.models import GARDEN

THEIRS = {
    "MobileNetV1": keras.applications.MobileNet,
    "MobileNetV2": keras.applications.MobileNetV2,
    "MobileNetV3Large": keras.applications.MobileNetV3Large,
    "MobileNetV3Small": keras.applications.MobileNetV3Small,
}


def _pair(name, input_shape, preprocessing=False, **options):
    """The same network by them and by us, theirs first."""
    extra = {"include_preprocessing": preprocessing} if "V3" in name else {}
    theirs = THEIRS[name](input_shape, weights=None, **options, **extra)
    return theirs, GARDEN[name](input_shape, **options)


def _assert_equal(ours, theirs, x, theirs_x=None):
    expected = theirs(x if theirs_x is None else theirs_x, training=False).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(
        ours(x, training=False).numpy(), expected, rtol=0, atol=1e-5 * max(1, expected.std())
    )


@pytest.mark.parametrize(
    ("name", "input_shape", "options"),
    [
        ("MobileNetV1", (64, 96, 3), {"alpha": 0.3, "classes": 10, "dropout": 0.0}),
        ("MobileNetV1", (32, 32, 1), {"alpha": 1.0, "include_top": False, "pooling": "avg"}),
        ("MobileNetV2", (96, 96, 3), {"alpha": 0.35, "classes": 10}),
        ("MobileNetV2", (32, 32, 1), {"classes": 7, "classifier_activation": None}),
        ("MobileNetV2", (33, 47, 3), {"alpha": 0.75, "include_top": False, "pooling": "avg"}),
        ("MobileNetV2", (64, 35, 3), {"alpha": 1.4, "include_top": False, "pooling": "max"}),
        ("MobileNetV2", (65, 65, 3), {"include_top": False}),
        # Where rounding after cutting and rounding alone give different widths.
        ("MobileNetV2", (32, 32, 3), {"alpha": 17.8 / 32, "include_top": False}),
        ("MobileNetV3Small", (64, 64, 3), {"classes": 10}),
        ("MobileNetV3Small", (33, 47, 3), {"alpha": 0.33, "classes": 10}),
        ("MobileNetV3Small", (64, 64, 3), {"minimalistic": True, "classes": 3}),
        ("MobileNetV3Large", (64, 64, 3), {"alpha": 0.75, "classes": 10}),
        ("MobileNetV3Large", (64, 64, 3), {"alpha": 1.25, "include_top": False}),
        ("MobileNetV3Large", (64, 64, 3), {"minimalistic": True, "classifier_activation": None}),
    ],
)
def test_same_weights_in_the_same_order_give_the_same_outputs(
    randomize, images, name, input_shape, options
):
    theirs, ours = _pair(name, input_shape, **options)
    randomize(theirs)
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    ours.set_weights(theirs.get_weights())
    _assert_equal(ours, theirs, images(input_shape))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *((name, ".weights.h5") for name in THEIRS),
        *(
            (name, suffix)
            for name in ("MobileNetV1", "MobileNetV3Small")
            for suffix in (".keras", ".h5")
        ),
    ],
)
def test_their_files_load(tmp_path, randomize, images, name, suffix):
    """With preprocessing inside the model that wrote the file, too."""
    shape, options = (32, 32, 3), {"classes": 5, "alpha": 0.5}
    theirs, _ = _pair(name, shape, preprocessing=True, **options)
    randomize(theirs)
    path = tmp_path / f"model{suffix}"
    theirs.save_weights(path) if suffix == ".weights.h5" else theirs.save(path)
    ours = GARDEN[name](shape, weights=path, **options)
    x = images(shape)
    _assert_equal(ours, theirs, x, (x + 1) * 127.5 if "V3" in name else None)


@pytest.mark.parametrize("name", ["MobileNetV1", "MobileNetV3Small"])
def test_our_files_load_into_theirs(tmp_path, randomize, images, name):
    theirs, ours = _pair(name, (32, 32, 3), classes=5, alpha=0.5)
    randomize(ours).save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    _assert_equal(ours, theirs, images((32, 32, 3)))
