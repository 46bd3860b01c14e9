"""Cropping, resizing and scaling of single images."""

import numpy as np
import pytest

from mobilequant.data import fit_image, preprocess, scale


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def test_scale_maps_pixels_to_minus_one_to_one():
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(scale(pixels), [-1.0, -0.6, 1.0], atol=1e-7)


def test_an_image_of_the_right_size_is_only_scaled():
    image = picture(32, 32)
    np.testing.assert_allclose(preprocess(image, (32, 32)), image / 127.5 - 1.0, atol=1e-6)


def test_imagenet_crop_takes_224_of_256_from_the_middle():
    image = picture(256, 300)
    np.testing.assert_array_equal(fit_image(image, (224, 224), crop=0.875), image[16:240, 38:262])


def test_the_window_keeps_the_shape_of_the_target():
    # Left and right of a wide image are cut off for a square, top and bottom for a wide target.
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :20] = image[:, 60:] = 255
    assert not np.any(fit_image(image, (20, 20)))
    image = np.zeros((80, 80, 3), np.uint8)
    image[:20] = image[60:] = 255
    assert not np.any(fit_image(image, (20, 40)))


@pytest.mark.parametrize("size", [(7, 7), (65, 33), (1, 1), (300, 200)])
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (51, 200), (200, 51)])
def test_any_size_becomes_any_other(size, shape):
    result = np.asarray(fit_image(picture(*shape), size, crop=0.875))
    assert result.shape == (*size, 3) and result.dtype == np.uint8


def test_resizing_keeps_a_plain_colour():
    image = np.full((50, 40, 3), 200, np.uint8)
    assert np.all(np.asarray(fit_image(image, (96, 96))) == 200)


def test_channels():
    grey = picture(8, 8, 1)
    np.testing.assert_array_equal(fit_image(grey, (8, 8), 3), np.repeat(grey, 3, -1))
    assert fit_image(picture(8, 8), (8, 8), 1).shape == (8, 8, 1)
    transparent = picture(8, 8, 4)
    np.testing.assert_array_equal(fit_image(transparent, (8, 8), 3), transparent[..., :3])
