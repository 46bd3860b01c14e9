"""Windows and random changes: images, boxes and masks stay where they belong together."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.data import BoxAugmentation, MaskAugmentation, box_augmentation, colour, windows
from mobilequant.data.box_augmentation import LEAST_OVERLAPS

HEIGHT, WIDTH, VOID = 40, 56, 9
SIZE = (48, 36)  # of results; another shape, so that rows and columns cannot be confused


@st.composite
def rectangles(draw):
    """(top, left, bottom, right) in pixels, some pixels large."""
    top, left = draw(st.integers(0, HEIGHT - 8)), draw(st.integers(0, WIDTH - 8))
    return top, left, draw(st.integers(top + 6, HEIGHT)), draw(st.integers(left + 6, WIDTH))


@st.composite
def any_windows(draw):
    """Windows that overlap the image, within it, around it and across its border."""
    top, left = draw(st.integers(-HEIGHT, HEIGHT - 6)), draw(st.integers(-WIDTH, WIDTH - 6))
    bottom = draw(st.integers(max(top, 0) + 5, 2 * HEIGHT))
    return top, left, bottom, draw(st.integers(max(left, 0) + 5, 2 * WIDTH))


def drawn(rectangle):
    """A black image with a white rectangle, its mask, and its box (1, 4)."""
    top, left, bottom, right = rectangle
    mask = np.zeros((HEIGHT, WIDTH), np.int32)
    mask[top:bottom, left:right] = 1
    image = np.repeat(mask[..., None] * 255, 3, axis=-1).astype(np.uint8)
    box = np.float32([[top / HEIGHT, left / WIDTH, bottom / HEIGHT, right / WIDTH]])
    return tf.constant(image), tf.constant(mask), tf.constant(box)


def bounds(pixels):
    """(top, left, bottom, right) of the true pixels."""
    rows, columns = np.any(pixels, axis=1).nonzero()[0], np.any(pixels, axis=0).nonzero()[0]
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def white(image):
    return np.asarray(image)[..., 0] > 192  # beyond the image it is 128


@settings(max_examples=30, deadline=None)
@given(rectangles(), any_windows())
def test_image_mask_and_box_are_seen_at_the_same_place(rectangle, window):
    image, mask, box = drawn(rectangle)
    at = windows.view(image, tf.constant(window), SIZE)
    seen = np.clip(windows.see_boxes(box, image, at, SIZE)[0].numpy(), 0, 1) * [*SIZE, *SIZE]
    seen_mask = windows.see_mask(mask, at, SIZE, VOID).numpy()
    seen_image = windows.see_image(image, at, SIZE)
    assert seen_mask.shape == SIZE and seen_image.shape == (*SIZE, 3)

    # Beyond the image the mask is void and the image grey, and nowhere else.
    top, left, bottom, right = at.place.numpy()
    beyond = np.ones(SIZE, bool)
    beyond[top:bottom, left:right] = False
    np.testing.assert_array_equal(seen_mask == VOID, beyond)
    assert np.all(seen_image.numpy()[beyond] == windows.GREY)

    # Where a pixel of the image covers many of the result, its edge is blurred.
    stretch = (at.place[2:] - at.place[:2]) / (at.seen[2:] - at.seen[:2])
    blur = np.tile(np.maximum(stretch, 1.0), 2)
    if np.min(seen[2:] - seen[:2]) >= 3:
        assert np.all(np.abs(bounds(seen_mask == 1) - seen) <= 1.0)
        assert np.all(np.abs(bounds(white(seen_image)) - seen) <= 0.75 * blur + 0.5)


def test_the_whole_image_at_its_own_size_is_itself():
    image = np.random.default_rng(0).integers(0, 256, (12, 17, 3)).astype(np.uint8)
    at = windows.view(image, windows.whole(image), (12, 17))
    np.testing.assert_array_equal(windows.see_image(tf.constant(image), at, (12, 17)), image)


def objects_at(box):
    return {"boxes": box, "labels": tf.constant([1])}


@settings(max_examples=30, deadline=None)
@given(rectangles(), st.integers(0, 2**31 - 1))
def test_a_box_stays_around_its_object(rectangle, seed):
    image, _, box = drawn(rectangle)
    change = BoxAugmentation(colours=False)
    changed, objects = change(image, objects_at(box), [seed, 0], SIZE)
    assert changed.shape == (*SIZE, 3) and changed.dtype == "uint8"
    boxes = objects["boxes"].numpy()
    assert np.all((boxes >= 0) & (boxes <= 1)) and len(objects["labels"]) == len(boxes)
    if len(boxes):
        found = boxes[0] * [*SIZE, *SIZE]
        # A crop may show a twentieth of the canvas, so that a pixel becomes several.
        if np.min(found[2:] - found[:2]) >= 4:
            blur = np.maximum((found - np.tile(found[:2], 2))[2:] / _sides(rectangle), 1.0)
            difference = np.abs(bounds(white(changed)) - found)
            assert np.all(difference <= 1.0 + np.tile(blur, 2))


def _sides(rectangle):
    top, left, bottom, right = rectangle
    return np.array([bottom - top, right - left])


@settings(max_examples=30, deadline=None)
@given(rectangles(), st.integers(0, 2**31 - 1), st.sampled_from([VOID, None]))
def test_a_mask_stays_on_its_object(rectangle, seed, void):
    image, mask, _ = drawn(rectangle)
    change = MaskAugmentation(colours=False)
    changed, changed_mask = change(image, mask, [seed, 0], SIZE, void)
    assert changed.shape == (*SIZE, 3) and changed_mask.shape == SIZE
    found = changed_mask.numpy()
    assert set(np.unique(found)) <= ({0, 1} if void is None else {0, 1, VOID})
    if np.sum(found == 1) > 40 and np.any(white(changed)):
        # A pixel of the image becomes at most two of 48/40.
        assert np.all(np.abs(bounds(found == 1) - bounds(white(changed))) <= 2.5)


@pytest.mark.parametrize("least", LEAST_OVERLAPS)
def test_crops_overlap_an_object_as_much_as_asked(monkeypatch, least):
    monkeypatch.setattr(box_augmentation, "LEAST_OVERLAPS", (least,))
    image, _, box = drawn((8, 12, 30, 44))
    window = windows.whole(image)
    crop = tf.function(lambda seed: box_augmentation.crop(image, window, box, seed))
    crops = {tuple(crop(tf.constant([seed, 0])).numpy()) for seed in range(40)}
    # An object that fills a third of the image is hardly ever met to nine tenths.
    assert len(crops) > (1 if least < 0.9 else 0)
    for top, left, bottom, right in crops - {(0, 0, HEIGHT, WIDTH)}:
        assert 0 <= top < bottom <= HEIGHT and 0 <= left < right <= WIDTH
        assert top <= (8 + 30) / 2 < bottom and left <= (12 + 44) / 2 < right
        shared = (min(bottom, 30) - max(top, 8)) * (min(right, 44) - max(left, 12))
        both = (bottom - top) * (right - left) + 22 * 32 - shared
        assert shared / both >= least
        aspect = ((right - left) / WIDTH) / ((bottom - top) / HEIGHT)
        assert 0.45 < aspect < 2.2


def test_images_without_objects_are_cropped_and_zoomed_too():
    image, _, _ = drawn((0, 0, 40, 56))  # white all over
    none = {"boxes": tf.zeros((0, 4)), "labels": tf.zeros((0,), tf.int32)}
    change = tf.function(lambda seed: BoxAugmentation(colours=False)(image, none, seed, SIZE))
    results = [change(tf.constant([seed, 0])) for seed in range(30)]
    assert all(len(objects["labels"]) == 0 for _, objects in results)
    shares = {float(white(changed).mean()) for changed, _ in results}
    assert len(shares) > 5 and min(shares) > 0  # something of the image is always seen


def test_boxes_whose_centre_leaves_are_dropped_and_others_cut():
    image, _, _ = drawn((0, 0, 40, 56))
    boxes = tf.constant([[0.0, 0.0, 0.5, 0.9], [0.0, 0.0, 0.5, 1.2], [0.2, 0.2, 0.201, 0.4]])
    objects = {"boxes": boxes, "labels": tf.constant([0, 1, 2]), "crowd": tf.constant([False] * 3)}
    # The left half: the centre of the second box is on the right of it, the third is too thin.
    _, left = box_augmentation.see(image, objects, tf.constant([0, 0, 40, 28]), SIZE)
    assert list(left["labels"].numpy()) == [0] and left["crowd"].shape == (1,)
    np.testing.assert_allclose(left["boxes"], [[0.0, 0.0, 0.5, 1.0]], atol=1e-6)


def test_what_is_switched_off_does_not_happen():
    image, mask, box = drawn((5, 6, 20, 30))
    nothing = BoxAugmentation(zoom_out=1, crop=False, colours=False, mirror=False)
    for seed in range(10):
        changed, objects = nothing(image, objects_at(box), [seed, 0], (HEIGHT, WIDTH))
        np.testing.assert_array_equal(changed, image)
        np.testing.assert_allclose(objects["boxes"], box, atol=1e-6)
        still = MaskAugmentation(scales=(1, 1), colours=False, mirror=False)
        changed, changed_mask = still(image, mask, [seed, 0], (HEIGHT, WIDTH), VOID)
        np.testing.assert_array_equal(changed, image)
        np.testing.assert_array_equal(changed_mask, mask)


def test_mirrors_are_half_of_the_cases():
    image, mask, box = drawn((5, 6, 20, 30))
    mirrored = 0
    for seed in range(40):
        flipped, objects = box_augmentation.mirror(image, objects_at(box), [seed, 0])
        expected = objects["boxes"][0].numpy() * [HEIGHT, WIDTH, HEIGHT, WIDTH]
        np.testing.assert_allclose(bounds(white(flipped)), expected, atol=1e-3)
        mirrored += not np.array_equal(flipped, image)
    assert 8 < mirrored < 32


@pytest.mark.parametrize("channels", [1, 3])
def test_colours(channels):
    image = np.random.default_rng(0).integers(0, 256, (8, 9, channels)).astype(np.uint8)
    results = [colour.jitter(tf.constant(image), [seed, 0]).numpy() for seed in range(40)]
    assert all(result.shape == image.shape and result.dtype == np.uint8 for result in results)
    same = sum(np.array_equal(result, image) for result in results)
    assert 0 < same < 20  # each change happens in half of the cases
    means = [result.mean() - image.mean() for result in results]
    assert min(means) < -10 and max(means) > 10
    again = colour.jitter(tf.constant(image), [7, 0])
    np.testing.assert_array_equal(again, results[7])


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="zoom_out must be at least 1"):
        BoxAugmentation(zoom_out=0.5)
    with pytest.raises(ValueError, match="scales must be"):
        MaskAugmentation(scales=(2.0, 0.5))
