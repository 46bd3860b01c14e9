"""The ImageNet weights of `keras.applications`, from where it gets them."""

from dataclasses import dataclass
from pathlib import Path

import keras

from mobilequant.models.architecture import Architecture

_STORE = "https://storage.googleapis.com/tensorflow/keras-applications/"


@dataclass(frozen=True)
class Published:
    """The files that exist for one architecture.

    Attributes:
        folder: in the store.
        file: name of a file, to be filled with alpha, size and top.
        no_top: what `top` stands for without the classifier; with it, for nothing.
        alphas: width multipliers and how the file names write them.
        sizes: image sizes; others take the largest.
    """

    folder: str
    file: str
    no_top: str
    alphas: dict[float, str]
    sizes: tuple[int, ...]


def _v3(kind: str, *alphas: float) -> Published:
    return Published(
        folder="mobilenet_v3/",
        file=f"weights_mobilenet_v3_{kind}_{{size}}_{{alpha}}_float{{top}}.h5",
        no_top="_no_top_v2",
        alphas={alpha: str(alpha) for alpha in alphas},
        sizes=(224,),
    )


#: By the name of the architecture.
PUBLISHED = {
    "mobilenet": Published(
        folder="mobilenet/",
        file="mobilenet_{alpha}_{size}_tf{top}.h5",
        no_top="_no_top",
        alphas={0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"},
        sizes=(128, 160, 192, 224),
    ),
    "mobilenetv2": Published(
        folder="mobilenet_v2/",
        file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}{top}.h5",
        no_top="_no_top",
        alphas={alpha: str(alpha) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)},
        sizes=(96, 128, 160, 192, 224),
    ),
    "mobilenetv3_large": _v3("large", 0.75, 1.0),
    "mobilenetv3_small": _v3("small", 0.75, 1.0),
    "mobilenetv3_large_minimalistic": _v3("large_minimalistic", 1.0),
    "mobilenetv3_small_minimalistic": _v3("small_minimalistic", 1.0),
}


def download(
    architecture: Architecture,
    alpha: float,
    input_shape: tuple[int | None, int | None, int],
    include_top: bool,
) -> Path:
    """The path of the file, from Keras' cache (`KERAS_HOME`, `~/.keras`) or the network.

    Args:
        architecture: the model's table.
        alpha: its width multiplier.
        input_shape: (height, width, channels); the file for this size is taken if there is one,
            else the one for 224×224.
        include_top: whether the classifier's weights are wanted too.

    Raises:
        ValueError: there are no such weights, or they cannot be downloaded.
    """
    url = address(architecture, alpha, input_shape, include_top)
    name = url.rpartition("/")[2]
    try:
        # No hash: a file that somebody put into the cache is theirs to choose, and a damaged one
        # does not load.
        return Path(keras.utils.get_file(name, url, cache_subdir="models"))
    except Exception as error:  # keras.utils.get_file raises whatever urllib does
        raise ValueError(
            f'weights="imagenet": {url} could not be downloaded ({error}). Download it elsewhere '
            "and give its path, or put it into the folder `models` of Keras' cache"
        ) from error


def address(
    architecture: Architecture,
    alpha: float,
    input_shape: tuple[int | None, int | None, int],
    include_top: bool,
) -> str:
    """The address of the file; arguments and errors as for `download`."""
    published = PUBLISHED.get(architecture.name)
    if published is None:
        raise ValueError(
            f'weights="imagenet" exists for {", ".join(PUBLISHED)}, not for {architecture.name}; '
            'give a file of weights, or "hf-hub:timm/…" for those of timm'
        )
    if alpha not in published.alphas:
        raise ValueError(
            f'weights="imagenet" of {architecture.name} exists for alpha '
            f"{', '.join(map(str, published.alphas))}, not {alpha}"
        )
    height, width, _ = input_shape
    size = height if height == width and height in published.sizes else published.sizes[-1]
    top = "" if include_top else published.no_top
    file = published.file.format(alpha=published.alphas[alpha], size=size, top=top)
    return f"{_STORE}{published.folder}{file}"
