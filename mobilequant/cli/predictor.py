"""What `mobilequant predict` does once its arguments are sound."""

from __future__ import annotations

from pathlib import Path

from mobilequant.cli import datasets, files, photographs, tasks
from mobilequant.cli.errors import UsageError
from mobilequant.cli.running import FileRunner, ModelRunner
from mobilequant.writing import written_whole


class Predictor:
    """A model or a file that reads images.

    Args:
        path: A `.keras` or `.tflite` file.
        images: How many images there will be.
        like: Of a `.tflite` file, the Keras model that it was made from, or `None`.
        task: A name, or `None` for what the outputs say.

    Attributes:
        task: A module of `mobilequant.cli.tasks`.

    Raises:
        UsageError: The model does not take images, or its outputs are of no task.
        InvalidModelError: A `.tflite` file cannot be read.
    """

    def __init__(self, path: Path, images: int, *, like: Path | None, task: str | None):
        self._path = path
        if path.suffix == ".keras":
            self._model = files.load_model(path)
            self._run = ModelRunner(self._model, images)
            self._shape = datasets.image_shape(self._model, path)
            self.task = tasks.of_model(self._model, task)
        else:
            self._model = files.load_model(like) if like else None
            self._run = FileRunner(path, like=self._model)
            self._shape = datasets.image_shape_of_file(self._run.inputs, path)
            self.task = tasks.of_file(self._run.outputs, path, task)

    @property
    def draws(self) -> bool:
        """Whether there are pictures to make."""
        return self.task.Reader.picture is not None

    def names_of(self, data: str, data_dir: str | None) -> tuple[str, ...]:
        """The names of the classes of a data set."""
        options = {"image_size": self._shape[:2], "channels": self._shape[2], "limit": 1}
        return self.task.load(data, data_dir=data_dir, batch_size=1, **options).class_names

    def prepare(self, names, score: float) -> None:
        """Sets what predictions look like.

        Args:
            names: Of the classes, or `None`.
            score: The least score of boxes.

        Raises:
            UsageError: There are not as many names as classes, or the anchors are not known.
        """
        known = self._classes()
        if names and known and len(names) != known:
            raise UsageError(
                f"{self._path} knows {known} classes, but there are {len(names)} names"
            )
        self._reader = self.task.Reader(
            self._model, self._run, names, self._path, score=score, size=self._shape[:2]
        )

    def predict(self, path: Path, picture: Path | None) -> tuple[dict, str]:
        """Reads one image.

        Args:
            path: Of the image.
            picture: Where to draw; `None` for nowhere.

        Returns:
            The result for `--json`, and a text for people.

        Raises:
            UsageError: The image or the picture cannot be read or written.
        """
        image = photographs.open_upright(path)
        whole = self.task.NAME != "classification"
        batch = photographs.as_batch(image, self._shape, whole=whole)
        prediction = self._reader.read(self._run(batch), image)
        result = {"path": str(path), "size": [image.height, image.width], **prediction.result}
        text = f"{path}:{prediction.text}"
        if picture is not None:
            _save(prediction.draw(), picture)
            result["picture"] = str(picture)
            text += f" ({picture})"
        return result, text

    def _classes(self) -> int | None:
        """How many classes there are, where the outputs say it."""
        if self.task.NAME == "detection":
            return self.task.classes(self._model)
        outputs = self._model.outputs if self._model is not None else self._run.outputs
        shape = outputs[0].shape
        return None if len(shape) == 3 else int(shape[-1])


def _save(image, path: Path) -> None:
    try:
        with written_whole(path) as temporary:
            image.save(temporary, format="PNG")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
