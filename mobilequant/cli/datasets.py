"""The data set of `--data`, in the shape that a model takes."""

from __future__ import annotations

from mobilequant.cli.errors import UsageError


def image_shape(model, name) -> tuple[int, int, int]:
    """(height, width, channels) of the images that a model takes.

    Raises:
        UsageError: It takes something else, or images of any size.
    """
    shape = model.inputs[0].shape[1:]
    if len(model.inputs) != 1 or len(shape) != 3 or shape[2] not in (1, 3):
        raise UsageError(f"{name} does not take images alone: its inputs are {model.input_shape}")
    if None in shape:
        raise UsageError(
            f"{name} takes images of any size {tuple(shape)}; build it with a fixed input_shape"
        )
    return tuple(shape)


def check_classes(model, data, name) -> None:
    """Raises `UsageError` where the model does not have one output for each class."""
    shape = model.outputs[0].shape
    if len(model.outputs) != 1 or len(shape) != 2 or shape[1] != data.num_classes:
        raise UsageError(
            f"{name} has outputs of shape {model.output_shape}, the data set {data.name} has "
            f"{data.num_classes} classes; a classifier has one output for each class"
        )


def load(arguments, shape: tuple[int, int, int], **options):
    """`load_classification` with `--data` and `--data-dir`, for images of that shape."""
    from mobilequant.cli.quiet import quiet
    from mobilequant.data import load_classification

    with quiet():
        return load_classification(
            arguments.data,
            data_dir=arguments.data_dir,
            image_size=shape[:2],
            channels=shape[2],
            **options,
        )


def calibration_images(arguments, shape, images: int):
    """Training images as evaluation sees them, and how many there are.

    Args:
        arguments: With `--data` and `--data-dir`.
        shape: (height, width, channels).
        images: At most so many.

    Returns:
        A `tf.data.Dataset` of batches of images and labels, and the number of images.
    """
    # Training pipelines drop the last images, too few for a batch; of one image each, none are.
    data = load(arguments, shape, limit=images, augment=False, batch_size=1)
    part = "train" if data.train is not None else "test"
    chosen = data.train if data.train is not None else data.test
    return chosen.unbatch().batch(32), data.sizes[part]


def test_images(arguments, shape, *, limit: int | None = None, batch_size: int = 32):
    """The data set, where it has images for testing.

    Raises:
        UsageError: It has none.
    """
    data = load(arguments, shape, limit=limit, batch_size=batch_size)
    if data.test is None:
        raise UsageError(f"the data set {data.name} has no images for testing")
    return data
