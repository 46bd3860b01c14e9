"""The weights that people have, loaded into the models of the garden.

`open_weights` finds out what a `weights=` argument means before the model is built, because the
source of the weights decides how convolutions are padded; its answer then loads them.
"""

from pathlib import Path

from mobilequant.models.architecture import Architecture
from mobilequant.models.weights import hub, imagenet
from mobilequant.models.weights.keras_file import KerasFile
from mobilequant.models.weights.pytorch_file import PyTorchFile
from mobilequant.models.weights.source import NoWeights, Source

__all__ = ["Source", "open_weights"]

_KERAS_SUFFIXES = (".weights.h5", ".keras", ".h5")
_SUFFIXES = (*_KERAS_SUFFIXES, ".safetensors")


def open_weights(
    weights: str | Path | None,
    architecture: Architecture,
    alpha: float,
    input_shape: tuple[int | None, int | None, int],
    include_top: bool,
) -> Source:
    """What the argument `weights` of a builder names.

    Args:
        weights: `None`, `"imagenet"`, `"hf-hub:owner/name"` or a path.
        architecture: the model's table.
        alpha: its width multiplier.
        input_shape: (height, width, channels) of its images.
        include_top: whether it has a classifier.

    Returns:
        A `Source`, which knows the padding and epsilon that go with the weights.

    Raises:
        ValueError: there is no such file or no such set of weights, or its name has an unknown
            ending.
        ImportError: a package is missing that reads the file; the message names the extra.
    """
    if weights is None:
        return NoWeights(batch_norm_epsilon=architecture.batch_norm_epsilon)
    if weights == "imagenet":
        path = imagenet.download(architecture, alpha, input_shape, include_top)
        return KerasFile(path, architecture, include_top)
    if str(weights).startswith(hub.PREFIX):
        path, model_name = hub.download(str(weights))
        return PyTorchFile(path, architecture, include_top, model_name)
    path = Path(weights)
    if not path.is_file():
        raise ValueError(f"weights={str(path)!r}: there is no such file")
    if path.name.endswith(_KERAS_SUFFIXES):
        return KerasFile(path, architecture, include_top)
    if path.name.endswith(".safetensors"):
        return PyTorchFile(path, architecture, include_top)
    raise ValueError(
        f"weights={str(path)!r} must end in {', '.join(_SUFFIXES)}. A PyTorch file (.pth, .bin) is "
        "written anew by safetensors.torch.save_file(torch.load(path), 'name.safetensors')"
    )
