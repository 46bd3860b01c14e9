"""The data set of `--data`, in the shape that a model takes."""

from __future__ import annotations

from mobilequant.cli import labels
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


def image_shape_of_file(inputs, name) -> tuple[int, int, int]:
    """(height, width, channels) of the images that a `.tflite` file takes.

    Args:
        inputs: The file's inputs, anything with a `shape` that begins with the batch.
        name: What messages call the file.

    Raises:
        UsageError: It takes something else.
    """
    shape = tuple(inputs[0].shape[1:]) if inputs else ()
    if len(inputs) != 1 or len(shape) != 3 or shape[2] not in (1, 3) or min(shape) < 1:
        shapes = ", ".join(str(port.shape) for port in inputs)
        raise UsageError(f"{name} does not take images alone: its inputs are {shapes}")
    return shape


def load(arguments, task, shape: tuple[int, int, int], **options):
    """The data set of `--data` for images of that shape.

    Args:
        arguments: With what `arguments.add_data` adds.
        task: A module of `mobilequant.cli.tasks`.
        shape: (height, width, channels).
        options: Of the task's loader.

    Raises:
        UsageError: `--class-names` or `--void-label` mean nothing for the task.
    """
    from mobilequant.cli.quiet import quiet

    if arguments.class_names is not None:
        _require(task.NAME != "classification", "--class-names", task)
        options["class_names"] = labels.read(arguments.class_names)
    if arguments.void_label is not None:
        _require(task.NAME == "segmentation", "--void-label", task)
        options["void_label"] = arguments.void_label
    with quiet():
        return task.load(
            arguments.data,
            data_dir=arguments.data_dir,
            image_size=shape[:2],
            channels=shape[2],
            **options,
        )


def calibration_images(arguments, model, name, images: int):
    """Training images as evaluation sees them, and how many there are.

    Args:
        arguments: With what `arguments.add_data` adds.
        model: What takes them; it says the task, unless `--task` does.
        name: What messages call the model.
        images: At most so many.

    Returns:
        A `tf.data.Dataset` of batches of images and labels, and the number of images.
    """
    task = _task(arguments, model)
    # Training pipelines drop the last images, too few for a batch; of one image each, none are.
    data = load(
        arguments, task, image_shape(model, name), limit=images, augment=False, batch_size=1
    )
    part = "train" if data.train is not None else "test"
    chosen = data.train if data.train is not None else data.test
    return chosen.unbatch().batch(task.BATCH_SIZE), data.sizes[part]


def test_images(arguments, model, name, *, limit: int | None = None, batch_size: int | None = None):
    """The data set, where it has images for testing, and the task.

    Args:
        arguments: With what `arguments.add_data` adds.
        model: What takes them; it says the task, unless `--task` does.
        name: What messages call the model.
        limit: At most so many images.
        batch_size: By default the task's.

    Raises:
        UsageError: It has none.
    """
    task = _task(arguments, model)
    data = load(
        arguments,
        task,
        image_shape(model, name),
        limit=limit,
        batch_size=batch_size or task.BATCH_SIZE,
    )
    if data.test is None:
        raise UsageError(f"the data set {data.name} has no images for testing")
    return data, task


def _task(arguments, model):
    from mobilequant.cli import tasks

    return tasks.of_model(model, arguments.task)


def _require(fits: bool, option: str, task) -> None:
    if not fits:
        raise UsageError(f"{option} has no meaning for {task.NAME}")
