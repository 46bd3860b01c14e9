"""Data sets of TensorFlow Datasets, and data sets prepared in its format."""

import difflib
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds

from mobilequant.data.sources.source import TEST_SHARE, Source, Split

# Characters: a mirrored one is another one, or none.
_NOT_MIRRORED = frozenset(
    {
        "binary_alpha_digits",
        "cmaterdb",
        "emnist",
        "kmnist",
        "mnist",
        "mnist_corrupted",
        "omniglot",
        "qmnist",
        "svhn_cropped",
    }
)


def is_known(name: str, data_dir: str | Path | None) -> bool:
    """Whether TFDS has the code of a data set, or finds it prepared in `data_dir`.

    Raises:
        ValueError: the data set is known, but not in the version asked for.
    """
    try:
        tfds.builder(name, data_dir=data_dir)
    except ValueError:  # DatasetNotFoundError is one, and so is an unknown configuration
        return False
    except AssertionError as error:
        raise ValueError(f"{name}: {error}") from error
    return True


def similar_names(name: str) -> list[str]:
    """Names of TFDS that look like `name`, best first."""
    return difflib.get_close_matches(name, tfds.list_builders(), n=3)


def from_tfds(name: str, data_dir: str | Path | None) -> Source:
    """A TFDS classification data set; what is not prepared in `data_dir` is downloaded into it.

    Args:
        name: as `tfds.load` takes it, for example "cifar10" or "emnist/letters".
        data_dir: folder of prepared data sets; `None` for TFDS's own.

    Raises:
        ValueError: it holds no image with one class label, or one class only.
        RuntimeError: it is not prepared and cannot be downloaded.
    """
    builder = prepared(name, data_dir)
    image_key, label_key = _keys(builder)
    image = builder.info.features[image_key]
    classes = tuple(builder.info.features[label_key].names)
    if len(classes) < 2:
        raise ValueError(f"{name} has only one class, {classes[0]!r}; a classifier needs two")
    shape = tuple(image.shape)
    return Source(
        name=builder.name,
        class_names=classes,
        splits=splits(
            builder,
            lambda example: (example[image_key], tf.cast(example[label_key], tf.int64)),
            undecoded={image_key: tfds.decode.SkipDecoding()},
            labelled=lambda examples: any(label >= 0 for _, label in examples.take(1)),
        ),
        decode=image.decode_example,
        image_shape=None if None in shape else shape,
        mirrored=builder.name not in _NOT_MIRRORED,
    )


def prepared(name: str, data_dir: str | Path | None):
    """The builder of a data set, which is downloaded if it is not there.

    Its features are those that lie beside the data: TFDS's code of today may name the classes in
    another order than the data set that was prepared.

    Raises:
        RuntimeError: it is not prepared and cannot be downloaded.
    """
    builder = tfds.builder(name, data_dir=data_dir)
    if not builder.info.splits:
        _download(builder)
    if (Path(builder.data_dir) / "features.json").is_file():
        return tfds.builder_from_directory(builder.data_dir)
    return builder


def splits(
    builder,
    example: Callable,
    *,
    undecoded: dict,
    labelled: Callable[[tf.data.Dataset], bool] = lambda _: True,
) -> dict[str, Split]:
    """The parts of a data set that can be used.

    Args:
        builder: a prepared TFDS builder.
        example: from an example as TFDS gives it to (raw image, target).
        undecoded: TFDS's decoders of the features that are left as they are in the files.
        labelled: whether examples come with the truth. The test images of a competition do not.

    Raises:
        ValueError: no split is named train, validation or test.
    """

    def split(name: str) -> Split:
        def read(start, stop, seed):
            examples = builder.as_dataset(
                split=f"{name}[{start}:{stop}]",
                decoders=undecoded,
                shuffle_files=seed is not None,
                # The pipeline caches decoded images itself, where they are few.
                read_config=tfds.ReadConfig(shuffle_seed=seed, try_autocache=False),
            )
            return examples.map(example)

        return Split(builder.info.splits[name].num_examples, read)

    has = {name: split(name) for name in ("train", "validation", "test") if _holds(builder, name)}
    if "test" in has and not labelled(has["test"].read(0, has["test"].size, None)):
        del has["test"]
    if "test" not in has and "validation" in has:
        has["test"] = has.pop("validation")
    if not has:
        raise ValueError(
            f"{builder.name} has no split named train, validation or test; it has "
            f"{', '.join(builder.info.splits)}"
        )
    if list(has) == ["train"]:
        # TFDS shuffles when it prepares, so the end of a split is a random sample of it.
        whole = has["train"]
        kept = whole.size - round(whole.size * TEST_SHARE)
        has = {"train": whole.part(0, kept), "test": whole.part(kept, whole.size)}
    return has


def _download(builder) -> None:
    try:
        builder.download_and_prepare()
    except Exception as error:  # anything from no network to a changed page
        raise RuntimeError(
            f"{builder.name} is not prepared in {builder.data_dir} and could not be downloaded: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else error!r}"
        ) from error


def _keys(builder) -> tuple[str, str]:
    """The names of the one image and the one class label of an example."""
    features = builder.info.features
    keys = builder.info.supervised_keys
    if not (keys and len(keys) == 2 and all(isinstance(key, str) for key in keys)):
        keys = [
            next((k for k, v in features.items() if isinstance(v, kind)), None)
            for kind in (tfds.features.Image, tfds.features.ClassLabel)
        ]
    image, label = keys
    if (
        image is None
        or label is None
        or not isinstance(features[image], tfds.features.Image)
        or not isinstance(features[label], tfds.features.ClassLabel)
    ):
        raise ValueError(
            f"{builder.name} is no classification data set: an example must hold an image and a "
            f"class label, and holds {', '.join(features)}"
        )
    return image, label


def _holds(builder, name: str) -> bool:
    return name in builder.info.splits and builder.info.splits[name].num_examples > 0
