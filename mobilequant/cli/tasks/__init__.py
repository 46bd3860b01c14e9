"""What differs between classification, segmentation and detection, one module each.

Each module has

- `NAME`, and `MEASURES`: what is measured on test images, with names for people;
- `BATCH_SIZE` and `IMAGE_SIZE`: for training, unless something else is asked for;
- `load(name, **options)`: the data set;
- `build(arguments, shape, data, momentum)`: a new model for it;
- `check(model, data, name)`: raises `UsageError` where a model does not fit a data set;
- `compile(model, data, targets, **options)`: for `fit`; `targets` of one image, or `None` where
  the model is to be saved, not trained;
- `targets(model, dataset)`: the data set as `fit` takes it;
- `measure(model, run, data)`: the values of `MEASURES` on `data.test`, `None` where there is
  nothing to measure; `run` is a `ModelRunner` or a `FileRunner`;
- `Reader`: from outputs to predictions for people, see `mobilequant.cli.predictions`.
"""

from __future__ import annotations

from mobilequant.cli.errors import UsageError
from mobilequant.cli.tasks import classification, detection, segmentation

TASKS = {task.NAME: task for task in (classification, segmentation, detection)}


def of_model(model, given: str | None = None):
    """The task of a Keras model, unless it is given by name.

    Args:
        model: A model with images as its input.
        given: Of `--task`.
    """
    if given:
        return TASKS[given]
    if detection.is_detector(model):
        return detection
    shape = model.outputs[0].shape
    if len(model.outputs) == 1 and len(shape) in (3, 4):
        return segmentation
    return classification


def of_file(outputs, name, given: str | None = None):
    """The task of a `.tflite` file, unless it is given by name.

    Args:
        outputs: The file's outputs, `tflite_tools.interpreter.Port`.
        name: What messages call the file.
        given: Of `--task`.

    Raises:
        UsageError: The outputs are of no task.
    """
    if given:
        return TASKS[given]
    ranks = [len(port.shape) for port in outputs]
    if ranks in ([2], [1]):
        return classification
    if ranks in ([3], [4]):
        return segmentation
    if ranks == [3, 3] or len(ranks) == 4:
        return detection
    shapes = ", ".join(str(port.shape) for port in outputs)
    raise UsageError(
        f"{name} has outputs of shapes {shapes}: neither class scores, nor a mask, nor boxes"
    )
