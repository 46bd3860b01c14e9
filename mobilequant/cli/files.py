"""Models in, models out: read with errors that help, written whole or not at all."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from mobilequant.cli.errors import UsageError
from mobilequant.writing import written_whole


def check_tflite(path: str | Path) -> Path:
    """The path of an existing `.tflite` file, which its first bytes say, not its ending.

    Raises:
        UsageError: There is none, it cannot be read, or it is something else.
    """
    path = _check_file(path, ".tflite")
    try:
        with path.open("rb") as file:
            header = file.read(8)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if header[4:] != b"TFL3":
        what = "not a TFLite file (it does not carry the identifier TFL3)"
        raise UsageError(f"{path}: {what if header else 'the file is empty'}")
    return path


def check_model(path: str | Path) -> Path:
    """The path of an existing `.keras` file, by its ending, or `.tflite` file, by its content.

    Raises:
        UsageError: There is none, or it is something else.
    """
    path = _check_file(path, ".keras or .tflite")
    if path.suffix == ".keras":
        return path
    try:
        return check_tflite(path)
    except UsageError as error:
        raise UsageError(f"{error}; give a .keras or .tflite file") from error


def check_input(path: str | Path, suffix: str) -> Path:
    """The path of an existing file with that ending.

    Raises:
        UsageError: There is none, or it has another ending.
    """
    path = _check_file(path, suffix)
    if path.suffix != suffix:
        raise UsageError(f"{path} is no {suffix} file")
    return path


def check_output(path: str | Path, suffix: str) -> Path:
    """The path of a file that can be written; checked before the work that leads to it.

    Raises:
        UsageError: It has another ending, its folder is missing, or it cannot be written.
    """
    path = Path(path)
    if path.suffix != suffix:
        raise UsageError(f"the output {path} must end in {suffix}")
    if path.is_dir():
        raise UsageError(f"the output {path} is a folder; name a file to write")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"the output {path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the output {path} cannot be written: no permission in {folder}")
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"the output {path} cannot be written: it is write-protected")
    return path


def check_folder(path: str | Path) -> Path:
    """The path of a folder that can be written to; it is made if need be.

    Raises:
        UsageError: It is a file, or cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError:
        raise UsageError(f"the output {path} is a file; name a folder") from None
    except OSError as error:
        raise UsageError(f"the output {path} cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"the output {path} cannot be written: no permission in it")
    return path


def save_model(model, path: Path) -> int:
    """Writes a `.keras` file whole or not at all, and returns its bytes."""
    with written_whole(path) as temporary:
        model.save(temporary)
    return path.stat().st_size


def load_model(path: str | Path):
    """Loads a `.keras` file, float or quantized, not compiled.

    Raises:
        UsageError: There is no such file, it is no Keras model, or it holds layers of others.
    """
    path = check_input(path, ".keras")
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path} is no Keras model, or it is cut short")
    import keras

    # Keras finds them by their registered names.
    import mobilequant.layers
    import mobilequant.tasks.detection
    import mobilequant.tasks.metrics  # noqa: F401

    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its layers raise
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        raise UsageError(f"{path} cannot be loaded as a Keras model: {reason[:300]}") from error


def load_quantized_model(path: str | Path, otherwise: str | None = None):
    """Loads a `.keras` file that holds a quantized model.

    Args:
        path: The file.
        otherwise: What to do with a model that is not; by default to quantize it.

    Raises:
        UsageError: As `load_model`, or the model is not quantized.
    """
    from mobilequant.quantize.state import quantized_layers

    model = load_model(path)
    if not quantized_layers(model):
        advice = otherwise or f"make one with mobilequant quantize {path} -o QUANTIZED.keras"
        raise UsageError(f"{path} is not a quantized model; {advice}")
    return model


def _check_file(path: str | Path, suffix: str) -> Path:
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give a {suffix} file")
    if not path.is_file():
        problem = "is a device or a pipe, no file" if path.exists() else "there is no such file"
        raise UsageError(f"{path}: {problem}")
    return path
