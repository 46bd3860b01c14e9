"""What predictions look like, and how images come in."""

import numpy as np
import pytest
from PIL import Image

from mobilequant.cli import labels, photographs, pictures
from mobilequant.cli.errors import UsageError

GREY = (128, 128, 128)


def test_a_box_is_drawn_where_it_is():
    image = Image.new("RGB", (200, 100), GREY)
    item = {"class": 2, "name": "cell", "score": 0.75, "box": [40.0, 50.0, 90.0, 150.0]}
    picture = np.asarray(pictures.with_boxes(image, [item]))
    colour = pictures.colour(2)
    for row, column in ((65, 50), (65, 150), (90, 100), (40, 149)):
        assert tuple(picture[row, column]) == colour
    assert tuple(picture[65, 100]) == GREY and tuple(picture[95, 100]) == GREY
    # The name is above the box.
    assert np.any(picture[:38, 50:100] != 128) and np.all(picture[:, :48] == 128)
    assert image.getpixel((50, 65)) == GREY


@pytest.mark.parametrize("box", [[0.0, 0.0, 100.0, 200.0], [99.0, 199.0, 100.0, 200.0]])
def test_names_stay_inside_the_image(box):
    image = Image.new("RGB", (200, 100), GREY)
    item = {"class": 0, "name": "a long name", "score": 0.5, "box": box}
    assert pictures.with_boxes(image, [item]).size == (200, 100)


def test_a_mask_is_stretched_and_explained():
    image = Image.new("RGB", (60, 40), GREY)
    mask = np.array([[0, 3], [0, 3]])
    classes = [{"class": c, "name": "x" * 40, "share": 0.5} for c in (0, 3)]
    picture = pictures.with_mask(image, mask, classes)
    assert picture.width > 60 and picture.height > 40  # the legend is wider than the image
    pixels = np.asarray(picture).astype(int)
    assert np.all(pixels[:40, :30] == pixels[0, 0]) and np.all(pixels[:40, 30:60] == pixels[0, 30])
    expected = 0.45 * 128 + 0.55 * np.array(pictures.colour(3))
    assert np.all(np.abs(pixels[0, 30] - expected) <= 1)


def test_colours_differ():
    assert len({pictures.colour(number) for number in range(81)}) == 81


def test_images_are_collected_in_order(tmp_path):
    for name in ("b.png", "a.PNG", "c.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    single = tmp_path / "c.jpg"
    found = photographs.collect([str(single), str(tmp_path)])
    assert [path.name for path in found] == ["c.jpg", "a.PNG", "b.png", "c.jpg"]


def test_suffixes_are_those_of_the_data():
    from mobilequant.data.sources import files

    assert photographs.SUFFIXES == files.SUFFIXES


def test_photographs_are_turned_upright_and_16_bits_read(tmp_path):
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # turn it by a quarter to see it
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert photographs.open_upright(tmp_path / "turned.jpg").size == (4, 6)
    Image.fromarray(np.full((2, 2), 0x80FF, np.uint16)).save(tmp_path / "deep.png")
    assert photographs.open_upright(tmp_path / "deep.png").getpixel((0, 0)) == GREY


def test_an_image_becomes_what_training_gives_the_model():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    batch = photographs.as_batch(image, (8, 12, 3), whole=True)
    assert batch.shape == (1, 8, 12, 3) and batch.dtype == np.float32
    np.testing.assert_allclose(batch[0], pixels / 127.5 - 1, atol=1e-6)
    exact = photographs.as_batch(image, (8, 12, 3), whole=False)
    np.testing.assert_array_equal(batch, exact)
    assert photographs.as_batch(image, (4, 4, 1), whole=False).shape == (1, 4, 4, 1)


def test_labels(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffcat\ndog, of any kind \n\n", "utf-8")
    assert labels.read(path) == ("cat", "dog, of any kind")
    path.write_text("cat\n\ndog\n")
    with pytest.raises(UsageError, match="names.txt"):
        labels.read(path)
