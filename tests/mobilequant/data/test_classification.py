"""`load_classification` on the digits, TFDS data sets and folders, and on wrong input."""

import keras
import numpy as np
import pytest
from PIL import Image

from mobilequant.data import load_classification, preprocess


def collect(dataset):
    """All images and labels of one pass."""
    batches = list(dataset.as_numpy_iterator())
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def make_images(root, classes=("cat", "dog"), count=5, shape=(20, 30), suffix=".png"):
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (*shape, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}{i}{suffix}")


# The embedded digits


def test_digits():
    data = load_classification("digits", image_size=16, batch_size=50, channels=1)
    assert data.sizes == {"train": 1437, "test": 360}
    assert data.num_classes == 10 and data.class_names[3] == "3"
    assert data.image_shape == (16, 16, 1) and data.validation is None

    x, y = collect(data.test)
    assert x.shape == (360, 16, 16, 1) and x.dtype == np.float32 and y.dtype == np.int64
    assert x.min() == -1.0 and 0.9 < x.max() <= 1.0
    assert np.bincount(y).min() >= 34  # each class in proportion
    assert data.test.element_spec[0].shape == (None, 16, 16, 1)

    x, y = collect(data.train)
    assert x.shape == (1400, 16, 16, 1) and len(data.train) == 28  # whole batches
    assert x.min() >= -1.0 and x.max() <= 1.0


def test_digits_images_are_scikit_learns():
    from sklearn.datasets import load_digits

    data = load_classification("digits", image_size=8, channels=1, augment=False)
    x = np.concatenate([collect(data.test)[0], collect(data.train)[0]])
    known = {image.tobytes() for image in load_digits().images.astype(np.uint8)}
    found = {np.rint((i[..., 0] + 1) * 8).astype(np.uint8).tobytes() for i in x}
    assert found <= known


def test_test_images_come_in_fixed_order_and_training_images_do_not():
    data = load_classification("digits", image_size=8, augment=False, limit=100, batch_size=100)
    for one, other in zip(collect(data.test), collect(data.test), strict=True):
        np.testing.assert_array_equal(one, other)
    first, second = collect(data.train)[0], collect(data.train)[0]
    assert not np.array_equal(first, second)
    assert sorted(i.tobytes() for i in first) == sorted(i.tobytes() for i in second)


@pytest.mark.parametrize("augment", [True, False])
def test_the_seed_determines_training(augment):
    def epochs(seed):
        data = load_classification(
            "digits", image_size=9, batch_size=40, seed=seed, limit=80, augment=augment
        )
        return np.stack([collect(data.train)[0], collect(data.train)[0]])

    one, same, other = epochs(1), epochs(1), epochs(2)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


def test_digits_are_never_mirrored_unless_asked():
    def images(**options):
        data = load_classification("digits", image_size=8, limit=50, batch_size=50, **options)
        return {i.tobytes() for _ in range(20) for i in collect(data.train)[0]}

    plain = load_classification("digits", image_size=8, limit=50, batch_size=50, augment=False)
    mirrored = {i[:, ::-1].tobytes() for i in collect(plain.train)[0]}
    mirrored -= {i.tobytes() for i in collect(plain.train)[0]}
    assert not images() & mirrored
    assert images(mirror=True) & mirrored


def test_validation_is_taken_from_the_training_images():
    whole = load_classification("digits", image_size=8, augment=False, batch_size=1)
    data = load_classification("digits", image_size=8, augment=False, batch_size=1, validation=0.1)
    assert data.sizes == {"train": 1293, "validation": 144, "test": 360}
    parts = [i.tobytes() for part in (data.train, data.validation) for i in collect(part)[0]]
    assert sorted(parts) == sorted(i.tobytes() for i in collect(whole.train)[0])


@pytest.mark.parametrize("room", [0, 1797 * 8 * 8])
def test_caching_changes_nothing_but_the_speed(monkeypatch, room):
    def load():
        return load_classification("digits", image_size=12, channels=1, batch_size=1437)

    cached = load()
    monkeypatch.setattr("mobilequant.data.classification.CACHE_BYTES", room)
    small = load()
    for part in ("train", "test"):
        for one, other in zip(
            collect(getattr(cached, part)), collect(getattr(small, part)), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_a_model_learns_the_digits():
    data = load_classification("digits", image_size=8, channels=1, augment=False)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.fit(data.train, epochs=5, shuffle=False, verbose=0)
    assert model.evaluate(data.test, verbose=0)[1] > 0.9


# TensorFlow data sets


def test_cifar10(shared):
    data = load_classification(
        "cifar10", data_dir=shared / "data", image_size=(40, 48), batch_size=16, limit=48
    )
    assert data.sizes == {"train": 48, "test": 48} and data.class_names[0] == "airplane"
    x, y = collect(data.train)
    assert x.shape == (48, 40, 48, 3) and set(y) <= set(range(10)) and len(set(y)) > 3
    assert -1 <= x.min() < -0.5 < 0.5 < x.max() <= 1


def test_cifar10_pixels_are_those_of_the_files(shared):
    import tensorflow_datasets as tfds

    data = load_classification(
        "cifar10", data_dir=shared / "data", image_size=32, batch_size=7, limit=20
    )
    expected = tfds.load("cifar10", data_dir=shared / "data", split="test[:20]", download=False)
    x, y = collect(data.test)
    for ours, label, theirs in zip(x, y, expected.as_numpy_iterator(), strict=True):
        np.testing.assert_allclose(ours, theirs["image"] / 127.5 - 1.0, atol=1e-6)
        assert label == theirs["label"]


def test_a_data_set_with_test_images_only(shared):
    import tensorflow_datasets as tfds

    data = load_classification(
        "imagenet_sample", data_dir=shared / "data", image_size=224, batch_size=4, limit=6
    )
    assert data.train is None and data.sizes == {"test": 6} and data.num_classes == 1000
    x, y = collect(data.test)
    assert x.shape == (6, 224, 224, 3)
    files = tfds.load("imagenet_sample", data_dir=shared / "data", split="test[:6]", download=False)
    first = next(iter(files.as_numpy_iterator()))
    np.testing.assert_array_equal(x[0], preprocess(first["image"], (224, 224), crop=0.875))
    with pytest.raises(ValueError, match="no training images"):
        load_classification(
            "imagenet_sample", data_dir=shared / "data", image_size=32, validation=0.1
        )


def test_a_data_set_of_another_task_says_so(shared):
    with pytest.raises(ValueError, match="camvid is no classification data set.*segmentation_mask"):
        load_classification("camvid", data_dir=shared / "data", image_size=32)


def test_unknown_names_list_what_is_possible(tmp_path):
    with pytest.raises(ValueError, match='called "cifra10"; give "digits".*"cifar10".*folder'):
        load_classification("cifra10", data_dir=tmp_path, image_size=32)


def test_a_version_that_is_not_there_is_named(shared):
    with pytest.raises(ValueError, match="version 9.9.9, only: 3.0.2"):
        load_classification("cifar10:9.9.9", data_dir=shared / "data", image_size=32)


def test_a_missing_data_dir_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere.* is no folder"):
        load_classification("cifar10", data_dir=tmp_path / "nowhere", image_size=32)


def test_a_failed_download_names_the_data_set_and_the_folder(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fail(self, **_):
        raise OSError("no network")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(RuntimeError, match=f"cifar10 is not prepared in {tmp_path}.*no network"):
        load_classification("cifar10", data_dir=tmp_path, image_size=32)


# Folders


def test_a_folder_of_class_folders_is_split(tmp_path):
    make_images(tmp_path, ("cat", "dog", "owl"), count=10)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    data = load_classification(tmp_path, image_size=16, batch_size=4, augment=False)
    assert data.class_names == ("cat", "dog", "owl") and data.name == tmp_path.name
    assert data.sizes == {"train": 24, "test": 6}
    assert list(np.bincount(collect(data.test)[1])) == [2, 2, 2]
    again = load_classification(str(tmp_path), image_size=16, batch_size=4, seed=5)
    np.testing.assert_array_equal(collect(data.test)[0], collect(again.test)[0])
    apart = {i.tobytes() for i in collect(data.test)[0]}
    assert apart.isdisjoint(i.tobytes() for i in collect(data.train)[0])


@pytest.mark.parametrize("other", ["test", "val", "validation"])
def test_a_folder_with_its_own_splits(tmp_path, other):
    make_images(tmp_path / "train", count=6, suffix=".jpg")
    make_images(tmp_path / other, count=3, shape=(16, 16), suffix=".bmp")
    data = load_classification(tmp_path, image_size=16, batch_size=5, crop=1.0)
    assert data.sizes == {"train": 12, "test": 6}
    x, y = collect(data.test)
    pixels = {
        (np.asarray(Image.open(path)) / np.float32(127.5) - 1).astype(np.float32).tobytes(): label
        for label, name in enumerate(("cat", "dog"))
        for path in (tmp_path / other / name).iterdir()
    }
    assert [pixels[image.tobytes()] for image in x] == list(y)
    assert collect(data.train)[0].shape == (10, 16, 16, 3)


def test_a_folder_of_test_images_only(tmp_path):
    make_images(tmp_path / "test")
    data = load_classification(tmp_path, image_size=8)
    assert data.train is None and data.sizes == {"test": 10}


def test_grey_transparent_and_rotated_files(tmp_path):
    make_images(tmp_path, count=2)
    Image.new("L", (4, 4), 255).save(tmp_path / "cat" / "grey.png")
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "cat" / "clear.png")
    Image.new("P", (4, 4)).save(tmp_path / "dog" / "palette.gif")
    data = load_classification(tmp_path, image_size=8, batch_size=1)
    for part in (data.train, data.test):
        assert all(np.isfinite(i).all() for i in collect(part)[0])


def test_a_corrupt_image_is_named(tmp_path):
    make_images(tmp_path, count=4)
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    data = load_classification(tmp_path, image_size=8)
    with pytest.raises(Exception, match=r"dog/dog\d.png is no image that can be read"):
        collect(data.test)


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        load_classification(tmp_path / "nowhere", image_size=8)
    with pytest.raises(ValueError, match="holds no class folders"):
        load_classification(tmp_path, image_size=8)
    make_images(tmp_path, ("cat",))
    with pytest.raises(ValueError, match="only one class, 'cat'"):
        load_classification(tmp_path, image_size=8)
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match="dog holds no images"):
        load_classification(tmp_path, image_size=8)


def test_test_classes_must_be_trained(tmp_path):
    make_images(tmp_path / "train")
    make_images(tmp_path / "val", ("cat", "owl"))
    with pytest.raises(ValueError, match="owl: no such class in .*train"):
        load_classification(tmp_path, image_size=8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size must be"),
        ({"image_size": (32, 32, 3)}, "image_size must be"),
        ({"image_size": 32.5}, "image_size must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"channels": 2}, "channels must be"),
        ({"crop": 0}, "crop must be"),
        ({"validation": 1.0}, "validation must be"),
        ({"limit": 0}, "limit must be"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_classification("digits", **{"image_size": 32, **arguments})
