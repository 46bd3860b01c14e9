"""`load_segmentation` on CamVid, TFDS data sets, VOC and COCO folders, and on wrong input."""

import sys

import numpy as np
import pytest
from dense_folders import (
    HEIGHT,
    WIDTH,
    coco_folder,
    save_image,
    store_tfds,
    voc_folder,
    voc_masks,
)
from PIL import Image

from mobilequant.data import MaskAugmentation, load_segmentation


def collect(dataset):
    """All images and masks of one pass."""
    batches = list(dataset.as_numpy_iterator())
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


# TensorFlow data sets


def test_camvid(shared):
    data = load_segmentation(
        "camvid", data_dir=shared / "data", image_size=(90, 120), batch_size=3, limit=6
    )
    assert data.num_classes == 11 and data.void_label == 11 and data.class_names[3] == "road"
    assert data.sizes == {"train": 6, "test": 6} and data.image_shape == (90, 120, 3)
    for part in (data.train, data.test):
        images, masks = collect(part)
        assert images.shape == (6, 90, 120, 3) and images.dtype == np.float32
        assert masks.shape == (6, 90, 120) and masks.dtype == np.int32
        assert images.min() >= -1 and images.max() <= 1
        assert set(np.unique(masks)) <= set(range(12)) and len(np.unique(masks)) > 6
    # The middle of the lower border is road, the brightest part of the upper half is sky.
    images, masks = collect(data.test)
    assert np.mean(masks[:, -20:, 50:70] == 3) > 0.9
    sky = images[:, :45][masks[:, :45] == 0].mean()
    assert sky > images[:, :45][masks[:, :45] != 0].mean() + 0.3


def test_camvid_masks_are_those_of_the_files(shared):
    import tensorflow_datasets as tfds

    data = load_segmentation(
        "camvid", data_dir=shared / "data", image_size=(360, 480), batch_size=2, limit=2
    )
    images, masks = collect(data.test)
    examples = tfds.load("camvid", data_dir=shared / "data", split="validation[:2]", download=False)
    for image, mask, expected in zip(images, masks, examples.as_numpy_iterator(), strict=True):
        np.testing.assert_allclose(image, expected["image"] / 127.5 - 1.0, atol=1e-6)
        np.testing.assert_array_equal(mask, expected["segmentation_mask"][..., 0])


def test_the_seed_determines_training(shared):
    def epochs(seed):
        data = load_segmentation(
            "camvid", data_dir=shared / "data", image_size=24, batch_size=4, limit=4, seed=seed
        )
        return [collect(data.train) for _ in range(2)]

    one, same, other = epochs(1), epochs(1), epochs(2)
    for (images, masks), (again, masks_again) in zip(one, same, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(masks, masks_again)
    assert not np.array_equal(one[0][0], one[1][0])
    assert not np.array_equal(one[0][0], other[0][0])


def picture_and_mask(kind, low, high, shape=(12, 10), count=4, dtype=np.uint8):
    """Features and examples whose masks hold the numbers from `low` to below `high`."""
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(encoding_format="png"), "segmentation_mask": kind}
    rng = np.random.default_rng(0)
    rows = [
        {
            "image": rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
            "segmentation_mask": rng.integers(low, high, (*shape, 1)).astype(dtype),
        }
        for _ in range(count)
    ]
    return features, rows


def test_oxford_pets(tmp_path):
    import tensorflow_datasets as tfds

    kind = tfds.features.Image(shape=(None, None, 1), use_colormap=True)
    features, rows = picture_and_mask(kind, 1, 4)
    store_tfds(tmp_path, "oxford_iiit_pet", features, version="4.0.0", train=rows, test=rows)
    data = load_segmentation(
        "oxford_iiit_pet", data_dir=tmp_path, image_size=(12, 10), batch_size=4
    )
    assert data.class_names == ("pet", "background", "border") and data.void_label is None
    expected = [row["segmentation_mask"][..., 0] - 1 for row in rows]
    found = collect(data.test)[1]
    assert sorted(m.tobytes() for m in found) == sorted(
        m.astype(np.int32).tobytes() for m in expected
    )
    assert set(np.unique(collect(data.train)[1])) == {0, 1, 2}  # nothing beyond the image


def test_an_unknown_data_set_with_masks_of_16_bits(tmp_path):
    import tensorflow_datasets as tfds

    kind = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16, encoding_format="png")
    features, rows = picture_and_mask(kind, 298, 301, dtype=np.uint16)
    store_tfds(tmp_path, "scans", features, train=rows, test=rows)
    load = {"data_dir": tmp_path, "image_size": (12, 10), "batch_size": 2}
    with pytest.raises(ValueError, match="scans does not say .* give class_names="):
        load_segmentation("scans", **load)
    names = tuple(str(n) for n in range(300))
    data = load_segmentation("scans", class_names=names, void_label=300, **load)
    assert set(np.unique(collect(data.test)[1])) == {298, 299, 300}
    data = load_segmentation("scans", class_names=names, **load)
    with pytest.raises(Exception, match="index 300, but there are 300 classes and no void label"):
        collect(data.test)


def test_a_data_set_that_names_its_classes(tmp_path):
    import tensorflow_datasets as tfds

    kind = tfds.features.LabeledImage(shape=(None, None, 1), labels=["floor", "wall"])
    features, rows = picture_and_mask(kind, 0, 2)
    store_tfds(tmp_path, "rooms", features, train=rows, test=rows)
    data = load_segmentation("rooms", data_dir=tmp_path, image_size=8, batch_size=2)
    assert data.class_names == ("floor", "wall")
    assert set(np.unique(collect(data.test)[1])) == {0, 1}


def test_a_data_set_of_another_task_says_so(shared):
    with pytest.raises(ValueError, match="bccd is no segmentation data set.*objects/bbox"):
        load_segmentation("bccd", data_dir=shared / "data", image_size=32)


# VOC folders


def test_a_voc_folder(tmp_path):
    voc_masks(tmp_path)
    data = load_segmentation(tmp_path, image_size=(HEIGHT, WIDTH), batch_size=2)
    assert data.num_classes == 21 and data.class_names[12] == "dog" and data.void_label == 255
    assert data.sizes == {"train": 4, "test": 2}
    _, masks = collect(data.test)
    assert np.all(masks[:, 5:13, 7:17] == 12) and np.all(masks[:, 4, 6:18] == 255)
    assert np.sum(masks == 0) == 2 * (HEIGHT * WIDTH - 120)
    assert set(np.unique(collect(data.train)[1])) <= {0, 12, 255}


def test_classes_of_an_annotation_tool(tmp_path):
    voc_masks(tmp_path, lists=False)
    names = ["# label:color_rgb:parts:actions"] + [f"class{n}:0,{n},0::" for n in range(13)]
    (tmp_path / "labelmap.txt").write_text("\n".join(names))
    data = load_segmentation(tmp_path, image_size=16)
    assert data.num_classes == 13 and data.class_names[12] == "class12"


def test_masks_that_do_not_fit_are_named(tmp_path):
    voc_masks(tmp_path)
    path = tmp_path / "SegmentationClass" / "005.png"

    def error(match, **options):
        data = load_segmentation(tmp_path, image_size=16, **options)
        with pytest.raises(Exception, match=match):
            collect(data.test)

    error("png: the mask holds index 255, but .*21 classes and the void label 99", void_label=99)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(path)
    error(r"005.png: the image is of \(height, width\) \[20 30\], its mask of \[9 8\]")
    save_image(path)
    error("005.png is a mask of mode RGB; .*save it as a palette or grey PNG")
    path.write_bytes(b"nothing")
    error("005.png is no mask that can be read")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_masks_of_8_and_16_bits(tmp_path, dtype):
    voc_masks(tmp_path, lists=False)
    value = np.iinfo(dtype).max // 2
    for path in (tmp_path / "SegmentationClass").iterdir():
        Image.fromarray(np.full((HEIGHT, WIDTH), value, dtype)).save(path)
    data = load_segmentation(tmp_path, image_size=8, void_label=value, class_names=["one"])
    assert np.all(collect(data.test)[1] == value)


def test_grey_images_and_grey_models(tmp_path):
    voc_masks(tmp_path, lists=False)
    save_image(tmp_path / "JPEGImages" / "001.png", mode="L")
    for channels in (1, 3):
        data = load_segmentation(tmp_path, image_size=8, batch_size=2, channels=channels)
        for part in (data.train, data.test):
            assert collect(part)[0].shape[1:] == (8, 8, channels)


def test_a_folder_of_boxes_alone_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="has no folder SegmentationClass"):
        load_segmentation(voc_folder(tmp_path), image_size=16)


# COCO folders


def test_masks_are_drawn_from_coco_polygons(tmp_path):
    def overlap(content):  # a second object of another class on the first one
        first = content["annotations"][0]
        other = {**first, "id": 9, "category_id": 3, "segmentation": [[6, 4, 9, 4, 9, 14, 6, 14]]}
        content["annotations"].append(other)

    coco_folder(tmp_path, change=overlap)
    data = load_segmentation(tmp_path, image_size=(HEIGHT, WIDTH), batch_size=3)
    assert data.class_names == ("background", "car", "dog") and data.void_label == 255
    masks = collect(data.test)[1]
    first = next(mask for mask in masks if np.any(mask == 2))
    assert np.all(first[4:14, 9:18] == 2) and np.all(first[0:5, 0:3] == 1)
    assert np.all(first[4:14, 6:9] == 255)  # claimed by both
    assert np.sum(first > 0) == 10 * 12 + 15
    crowd = next(mask for mask in masks if not np.any(mask == 2) and np.any(mask))
    assert np.all(crowd[10:15, 15:25] == 255) and np.sum(crowd > 0) == 50
    collect(data.train)


def test_a_broken_polygon_is_named(tmp_path):
    def change(content):
        content["annotations"][1]["segmentation"] = [["a"]]

    data = load_segmentation(coco_folder(tmp_path, change=change), image_size=16)
    with pytest.raises(Exception, match="val2017.json: the segmentation of annotation 2"):
        collect(data.test)


def test_a_missing_pycocotools_says_what_to_install(tmp_path, monkeypatch):
    coco_folder(tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setattr("mobilequant.extras.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "mobilequant\[detection\]"'):
        load_segmentation(tmp_path, image_size=16)


def test_own_augmentation(tmp_path):
    voc_masks(tmp_path)
    still = MaskAugmentation(scales=(1, 1), colours=False, mirror=False)
    size = {"image_size": (HEIGHT, WIDTH), "batch_size": 4}
    changed = load_segmentation(tmp_path, augment=still, **size)
    plain = load_segmentation(tmp_path, augment=False, **size)
    one, other = (collect(data.train)[0] for data in (changed, plain))
    assert sorted(i.tobytes() for i in one) == sorted(i.tobytes() for i in other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": (32, 32, 3)}, "image_size must be"),
        ({"batch_size": 1.5}, "batch_size must be"),
        ({"channels": 4}, "channels must be"),
        ({"validation": -0.1}, "validation must be"),
        ({"limit": True}, "limit must be"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_segmentation("camvid", **{"image_size": 32, **arguments})
