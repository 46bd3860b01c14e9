"""The names of weights in torchvision's MobileNetV2 and V3, alone and under other heads.

Facts about the names, taken from its files; its rows are numbered through,
"features.4.block.1.0.weight".
"""

import re
from collections.abc import Iterable

from mobilequant.models.architecture import Architecture, ConvBN, InvertedBottleneck

STEM = "features.0.0.weight"
#: Added to the variance, where it is not PyTorch's 1e-5.
EPSILONS = {"mobilenetv3": 1e-3}
EPSILON = 1e-5
#: What the names in a file begin with that holds another head on such a backbone.
OTHER_HEADS = ("head.", "backbone.extra.", "classifier.", "aux_classifier.")

Names = list[tuple[str, str]]


def canonical(keys: Iterable[str]) -> dict[str, str]:
    """The names that a classifier alone would have, for the names in a file.

    Segmentation models number the backbone's rows without "features."; SSDLite splits them in
    two, inside the block that leaves stride 16, and numbers the second part from 0.

    Returns:
        {name in the file: canonical name}; what is not of the backbone keeps its name, after
        "other/" where it would be mistaken for the classifier.
    """
    keys = list(keys)
    if "backbone.0.0.weight" in keys:
        return {key: _without(key, "backbone.", "features.") for key in keys}
    if "backbone.features.0.0.0.weight" in keys:
        split = max(int(m[1]) for m in map(_FIRST_PART.match, keys) if m)
        return {key: _joined(key, split) for key in keys}
    return {key: key for key in keys}


_FIRST_PART = re.compile(r"backbone\.features\.0\.(\d+)\.")
_SPLIT_BLOCK = re.compile(r"backbone\.features\.1\.0\.")
_SECOND_PART = re.compile(r"backbone\.features\.1\.(\d+)\.")


def _without(key: str, prefix: str, replacement: str) -> str:
    return replacement + key.removeprefix(prefix) if key.startswith(prefix) else f"other/{key}"


def _joined(key: str, split: int) -> str:
    """The canonical name in SSDLite, whose second part begins inside row number `split`."""
    if match := _SPLIT_BLOCK.match(key):
        return f"features.{split}.block.{key[match.end() :]}"
    if match := _SECOND_PART.match(key):
        return f"features.{split + int(match[1])}.{key[match.end() :]}"
    if match := _FIRST_PART.match(key):
        block = "block.0." if int(match[1]) == split else ""
        return f"features.{match[1]}.{block}{key[match.end() :]}"
    return f"other/{key}"


def layer_names(architecture: Architecture, include_top: bool) -> Names:
    """Which layer has which name in torchvision.

    Args:
        architecture: the model's table.
        include_top: whether the model has a classifier.

    Returns:
        Pairs (name of our layer, what the names of its weights begin with in torchvision).

    Raises:
        ValueError: torchvision has no such model.
    """
    if not architecture.name.startswith(("mobilenetv2", "mobilenetv3")):
        raise ValueError(f"torchvision has no model {architecture.name}, nor names for its weights")
    in_block = _in_block_v3 if architecture.head else _in_block_v2
    names = []
    for number, row in enumerate(architecture.body):
        place = f"features.{number}"
        if isinstance(row, ConvBN):
            conv, norm, _ = row.layer_names
            names += [(conv, f"{place}.0"), (norm, f"{place}.1")]
        else:
            names += [(layer, f"{place}.{name}") for layer, name in in_block(row)]
    if include_top:
        for row in architecture.head[1:]:
            names.append((row.layer_names[0], "classifier.0"))
        names.append((architecture.classifier, f"classifier.{3 if architecture.head else 1}"))
    return names


def epsilon(architecture: Architecture) -> float:
    """What torchvision adds to the variance in this architecture's batch normalization."""
    family = architecture.name.partition("_")[0]
    return EPSILONS.get(family, EPSILON)


def _in_block_v2(row: InvertedBottleneck) -> Names:
    norm, _ = row.suffixes
    names, number = [], 0
    for part in ("expand", "depthwise")[row.expand_ratio == 1 :]:
        names += [
            (f"{row.name}_{part}", f"conv.{number}.0"),
            (f"{row.name}_{part}_{norm}", f"conv.{number}.1"),
        ]
        number += 1
    return [
        *names,
        (f"{row.name}_project", f"conv.{number}"),
        (f"{row.name}_project_{norm}", f"conv.{number + 1}"),
    ]


def _in_block_v3(row: InvertedBottleneck) -> Names:
    norm, _ = row.suffixes
    parts = ["expand"] * (row.expand_ratio != 1) + ["depthwise"]
    parts += ["squeeze_excite"] * bool(row.se_ratio) + ["project"]
    names = []
    for number, part in enumerate(parts):
        if part == "squeeze_excite":
            names += [
                (f"{row.name}_squeeze_excite_conv", f"block.{number}.fc1"),
                (f"{row.name}_squeeze_excite_conv_1", f"block.{number}.fc2"),
            ]
        else:
            names += [
                (f"{row.name}_{part}", f"block.{number}.0"),
                (f"{row.name}_{part}_{norm}", f"block.{number}.1"),
            ]
    return names
