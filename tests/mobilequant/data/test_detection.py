"""`load_detection` on BCCD, TFDS data sets, COCO and VOC folders, and on wrong input."""

import numpy as np
import pytest
import tensorflow as tf
from dense_folders import (
    HEIGHT,
    WIDTH,
    coco_folder,
    save_image,
    store_tfds,
    voc_folder,
    voc_xml,
)
from PIL import Image

from mobilequant.data import BoxAugmentation, load_detection


def collect(dataset):
    """All images and objects of one pass."""
    batches = list(dataset.as_numpy_iterator())
    images = np.concatenate([x for x, _ in batches])
    return images, {key: np.concatenate([y[key] for _, y in batches]) for key in batches[0][1]}


def listed(objects, size=(HEIGHT, WIDTH)):
    """For each image the real objects as {(label, box in pixels)}."""
    pixels = np.rint(objects["boxes"] * np.tile(size, 2)).astype(int)
    return [
        {
            (int(label), *map(int, box))
            for label, box in zip(labels, boxes, strict=True)
            if label >= 0
        }
        for labels, boxes in zip(objects["labels"], pixels, strict=True)
    ]


# TensorFlow data sets


def test_bccd(shared):
    data = load_detection(
        "bccd", data_dir=shared / "data", image_size=(96, 128), batch_size=4, limit=8, max_boxes=40
    )
    # The names that lie beside the data; TFDS's own code of the same name has another order.
    assert data.class_names == ("Platelets", "RBC", "WBC") and data.num_classes == 3
    assert data.sizes == {"train": 8, "test": 8} and data.image_shape == (96, 128, 3)
    images, spec = data.test.element_spec
    assert images.shape == (None, 96, 128, 3) and images.dtype == tf.float32
    assert spec["boxes"].shape == (None, 40, 4) and spec["labels"].dtype == tf.int32
    for part in (data.train, data.test):
        images, objects = collect(part)
        assert images.shape == (8, 96, 128, 3) and images.min() >= -1 and images.max() <= 1
        boxes, labels = objects["boxes"], objects["labels"]
        assert np.all((boxes >= 0) & (boxes <= 1)) and set(np.unique(labels)) <= {-1, 0, 1, 2}
        real = labels >= 0
        assert np.all(boxes[real][:, :2] < boxes[real][:, 2:]) and not np.any(boxes[~real])
        assert real.sum(1).max() > 5


def test_bccd_boxes_are_those_of_the_files(shared):
    import tensorflow_datasets as tfds

    data = load_detection(
        "bccd", data_dir=shared / "data", image_size=(480, 640), batch_size=3, limit=3
    )
    images, objects = collect(data.test)
    builder = tfds.builder_from_directory(str(shared / "data" / "bccd" / "1.0.0"))
    examples = builder.as_dataset(split="validation[:3]").as_numpy_iterator()
    for n, expected in enumerate(examples):
        np.testing.assert_allclose(images[n], expected["image"] / 127.5 - 1.0, atol=1e-6)
        count = len(expected["objects"]["label"])
        np.testing.assert_allclose(objects["boxes"][n, :count], expected["objects"]["bbox"])
        np.testing.assert_array_equal(objects["labels"][n, :count], expected["objects"]["label"])
        assert np.all(objects["labels"][n, count:] == -1)


@pytest.mark.parametrize("augment", [True, False])
def test_the_seed_determines_training(shared, augment):
    def epochs(seed):
        data = load_detection(
            "bccd",
            data_dir=shared / "data",
            image_size=32,
            batch_size=6,
            limit=6,
            seed=seed,
            augment=augment,
        )
        return [collect(data.train) for _ in range(2)]

    one, same, other = epochs(1), epochs(1), epochs(2)
    for (images, objects), (again, objects_again) in zip(one, same, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(objects["boxes"], objects_again["boxes"])
    assert not np.array_equal(one[0][0], one[1][0])
    assert not np.array_equal(one[0][0], other[0][0])


@pytest.mark.parametrize(
    ("name", "boxes", "labels", "crowd"),
    [
        ("voc", "objects/bbox", "objects/label", "objects/is_difficult"),
        ("coco/2017", "objects/bbox", "objects/label", "objects/is_crowd"),
        ("oxford_iiit_pet", "head_bbox", "species", None),
        ("wider_face", "faces/bbox", None, "faces/invalid"),
        # Not in the table:
        (
            "coco/2017_panoptic",
            "panoptic_objects/bbox",
            "panoptic_objects/label",
            "panoptic_objects/is_crowd",
        ),
        ("caltech_birds2011", "bbox", "label", None),
        ("stanford_dogs", "objects/bbox", "label", None),
        ("lvis", "objects/bbox", "objects/label", None),
        ("waymo_open_dataset", "camera_FRONT/labels/bbox", "camera_FRONT/labels/type", None),
    ],
)
def test_the_features_of_tensorflows_data_sets(tmp_path, name, boxes, labels, crowd):
    import tensorflow_datasets as tfds

    from mobilequant.data.sources.tfds_boxes import find_paths

    builder = tfds.builder(name, data_dir=tmp_path)
    paths = find_paths(builder.name, builder.info.features)
    assert (paths.boxes, paths.labels, paths.crowd) == (boxes, labels, crowd)


def test_a_data_set_of_single_boxes_and_grey_images(tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(10, 20, 1), encoding_format="png"),
        "box": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=["stop", "go"]),
    }
    rows = [
        {
            "image": np.full((10, 20, 1), 50 * n, np.uint8),
            "box": np.float32([0.1, 0.2, 0.5, 0.75]),
            "label": n % 2,
        }
        for n in range(5)
    ]
    store_tfds(tmp_path, "signs", features, train=rows)
    data = load_detection("signs", data_dir=tmp_path, image_size=8, batch_size=2, max_boxes=2)
    assert data.class_names == ("stop", "go") and data.sizes == {"train": 4, "test": 1}
    images, objects = collect(data.test)
    assert images.shape == (1, 8, 8, 3)
    np.testing.assert_allclose(objects["boxes"][0], [[0.1, 0.2, 0.5, 0.75], [0, 0, 0, 0]])


def test_test_images_of_a_competition_are_left_out(tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "objects": tfds.features.Sequence(
            {
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(names=["thing"]),
                "is_crowd": np.bool_,
            }
        ),
    }
    nothing = {"bbox": np.zeros((0, 4), np.float32), "label": [], "is_crowd": []}
    thing = {"bbox": np.float32([[0, 0, 1, 1]]), "label": [0], "is_crowd": [False]}
    objects = [thing, {**thing, "is_crowd": [True]}, thing]
    rows = [{"image": np.zeros((8, 8, 3), np.uint8), "objects": own} for own in objects]
    unknown = [{**row, "objects": nothing} for row in rows]
    store_tfds(tmp_path, "things", features, train=rows, validation=rows, test=unknown)
    data = load_detection("things", data_dir=tmp_path, image_size=8, batch_size=3, max_boxes=2)
    assert data.sizes == {"train": 3, "test": 3} and data.validation is None
    # Evaluation knows of the crowd, training leaves it out.
    _, objects = collect(data.test)
    assert sorted(objects["crowd"][:, 0]) == [False, False, True]
    plain = load_detection("things", data_dir=tmp_path, image_size=8, batch_size=3, augment=False)
    _, objects = collect(plain.train)
    assert not objects["crowd"].any() and sorted(objects["labels"][:, 0]) == [-1, 0, 0]


def test_a_data_set_of_another_task_says_so(shared):
    with pytest.raises(ValueError, match="camvid is no detection data set.*segmentation_mask"):
        load_detection("camvid", data_dir=shared / "data", image_size=32)


# COCO folders


@pytest.mark.parametrize("folder", ["{}", "images/{}", "images"])
def test_a_coco_folder(tmp_path, folder):
    coco_folder(tmp_path, folder=folder)
    data = load_detection(tmp_path, image_size=(HEIGHT, WIDTH), batch_size=2, max_boxes=3)
    # Labels are in the order of the category ids.
    assert data.class_names == ("car", "dog") and data.sizes == {"train": 3, "test": 3}
    images, objects = collect(data.test)
    found = listed(objects)
    expected = {(1, 4, 6, 14, 18), (0, 0, 0, 5, 3)}
    assert sorted(map(len, found)) == [0, 1, 2] and expected in found
    crowded = found.index({(0, 10, 15, 15, 25)})
    assert list(objects["crowd"].sum(1)) == [int(n == crowded) for n in range(3)]
    own = np.asarray(Image.open(next(tmp_path.rglob("val20170.png")))) / np.float32(127.5) - 1
    np.testing.assert_allclose(images[found.index(expected)], own, atol=1e-6)
    collect(data.train)


def test_one_file_of_an_annotation_tool_is_split(tmp_path):
    coco_folder(tmp_path, parts=["default"], images=10)
    data = load_detection(str(tmp_path), image_size=16, batch_size=2, validation=0.25)
    assert data.sizes == {"train": 6, "validation": 2, "test": 2}


def test_wrong_coco_files_are_named(tmp_path):
    def load(change, name):
        root = coco_folder(tmp_path / name, change=change)
        return load_detection(root, image_size=16)

    with pytest.raises(ValueError, match=r"instances_train2017.json: annotation without 'bbox'"):
        load(lambda content: content["annotations"][1].pop("bbox"), "bbox")
    with pytest.raises(ValueError, match="category_id 7 is not among the categories"):
        load(lambda content: content["annotations"][0].update(category_id=7), "category")
    with pytest.raises(ValueError, match="file without 'categories'"):
        load(lambda content: content.pop("categories"), "categories")
    with pytest.raises(ValueError, match="lists away.png, which is in none of .*images"):
        load(lambda content: content["images"][0].update(file_name="away.png"), "away")
    path = tmp_path / "bbox" / "annotations" / "instances_train2017.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="instances_train2017.json is no JSON"):
        load_detection(tmp_path / "bbox", image_size=16)
    path.rename(path.with_name("instances_mine.json"))
    with pytest.raises(ValueError, match="instances_mine.json says no part"):
        load_detection(tmp_path / "bbox", image_size=16)


def test_an_image_of_another_size_than_its_annotation_is_named(tmp_path):
    coco_folder(tmp_path)
    save_image(tmp_path / "val2017" / "val20171.png", height=WIDTH, width=HEIGHT)
    data = load_detection(tmp_path, image_size=16)
    with pytest.raises(Exception, match=r"val20171.png is an image of .* \[30 20\].*\[20 30\]"):
        collect(data.test)


# VOC folders


def test_a_voc_folder(tmp_path):
    voc_folder(tmp_path / "VOCdevkit" / "VOC2007")
    data = load_detection(
        tmp_path, image_size=(HEIGHT, WIDTH), batch_size=2, max_boxes=3, augment=False
    )
    assert data.name == "VOC2007" and data.num_classes == 20
    assert data.class_names[6] == "car" and data.class_names[11] == "dog"
    assert data.sizes == {"train": 4, "test": 2}
    # VOC counts pixels from 1, and the last one belongs to the object.
    _, objects = collect(data.test)
    assert sorted(map(sorted, listed(objects))) == [[(6, 4, 6, 14, 18)], [(11, 4, 6, 14, 18)]]
    _, objects = collect(data.train)  # the difficult one is left out
    assert [len(found) for found in listed(objects)] == [1, 1, 1, 1]


def test_the_classes_of_a_voc_folder_are_found_or_given(tmp_path):
    voc_folder(tmp_path, names=("nut", "bolt"), lists=False, count=10)
    assert load_detection(tmp_path, image_size=16).class_names == ("bolt", "nut")
    data = load_detection(tmp_path, image_size=16, class_names=("nut", "screw", "bolt"))
    assert data.class_names == ("nut", "screw", "bolt") and data.sizes == {"train": 8, "test": 2}
    assert set(np.unique(collect(data.test)[1]["labels"])) <= {-1, 0, 2}
    with pytest.raises(ValueError, match=r"\.xml: class 'nut' is not among class_names: bolt"):
        load_detection(tmp_path, image_size=16, class_names=["bolt"])


def test_wrong_voc_files_are_named(tmp_path):
    voc_folder(tmp_path)
    path = tmp_path / "Annotations" / "001.xml"
    path.write_text("<annotation>")
    with pytest.raises(ValueError, match="001.xml is no XML"):
        load_detection(tmp_path, image_size=16)
    path.write_text("<annotation><object><name>dog</name></object></annotation>")
    with pytest.raises(ValueError, match="001.xml: .*every <object> a <bndbox>"):
        load_detection(tmp_path, image_size=16)
    path.write_text(voc_xml([("", 1, 2, 3, 4)]))
    with pytest.raises(ValueError, match="001.xml: an <object> without a <name>"):
        load_detection(tmp_path, image_size=16)
    path.unlink()
    with pytest.raises(ValueError, match="train.txt lists 001, but .* no Annotations/001.xml"):
        load_detection(tmp_path, image_size=16)
    voc_folder(tmp_path / "other", lists=False)
    (tmp_path / "other" / "JPEGImages" / "002.png").unlink()
    with pytest.raises(ValueError, match="002.xml has no image"):
        load_detection(tmp_path / "other", image_size=16)


def test_a_size_of_zero_is_read_from_the_image(tmp_path):
    voc_folder(tmp_path, count=1, lists=False)
    path = tmp_path / "Annotations" / "000.xml"
    path.write_text(voc_xml([("dog", 1, 1, 15, 10)], height=0, width=0))
    data = load_detection(tmp_path, image_size=16, batch_size=1, augment=False)
    boxes = collect(data.train)[1]["boxes"]
    np.testing.assert_allclose(boxes[0, 0], [0, 0, 0.5, 0.5], atol=1e-6)


def test_several_years_must_be_chosen_from(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        voc_folder(tmp_path / year)
    with pytest.raises(ValueError, match="holds VOC2007, VOC2012; give one of them"):
        load_detection(tmp_path, image_size=16)


# Both


def test_a_folder_of_neither_kind_says_what_it_may_be(tmp_path):
    with pytest.raises(ValueError, match="no annotations that are known.*instances_NAME.json.*VOC"):
        load_detection(tmp_path, image_size=16)
    with pytest.raises(ValueError, match="nowhere is no folder"):
        load_detection(tmp_path / "nowhere", image_size=16)


def test_own_augmentation(tmp_path):
    coco_folder(tmp_path)
    still = BoxAugmentation(zoom_out=1, crop=False, colours=False, mirror=False)
    size = {"image_size": (HEIGHT, WIDTH), "batch_size": 3}
    changed = load_detection(tmp_path, augment=still, **size)
    plain = load_detection(tmp_path, augment=False, **size)
    one, other = (collect(data.train) for data in (changed, plain))
    assert sorted(i.tobytes() for i in one[0]) == sorted(i.tobytes() for i in other[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"channels": 2}, "channels must be"),
        ({"max_boxes": 0}, "max_boxes must be"),
        ({"validation": 1.0}, "validation must be"),
        ({"limit": 0}, "limit must be"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_detection("voc", **{"image_size": 32, **arguments})
