"""Weights from a repository on the Hugging Face hub, as timm publishes its own."""

from pathlib import Path

PREFIX = "hf-hub:"
_FILE = "model.safetensors"


def download(weights: str) -> tuple[Path, str]:
    """The path of the repository's safetensors file, from the cache or the network.

    Args:
        weights: "hf-hub:owner/name", with "@revision" at the end if wanted.

    Returns:
        The path, and the name of the repository, which is that of timm's model.

    Raises:
        ValueError: the name is no repository's, or the file is not there or out of reach.
        ImportError: the package `huggingface_hub` is missing.
    """
    repository, _, revision = weights.removeprefix(PREFIX).partition("@")
    owner, slash, name = repository.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise ValueError(
            f"weights={weights!r} must be hf-hub:owner/name, for example "
            "hf-hub:timm/mobilenetv4_conv_small.e2400_r224_in1k"
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError(
            f"weights={weights!r} needs the package huggingface_hub: pip install 'mobilequant[hub]'"
        ) from error
    try:
        path = hf_hub_download(repository, _FILE, revision=revision or None)
    except Exception as error:  # its own kinds, requests' and the file system's
        raise ValueError(f"weights={weights!r}: {_FILE} cannot be had: {error}") from error
    return Path(path), name
