"""The named feature levels of a backbone, for the heads of segmentation and detection.

A name is one of
- "stride2", "stride4", … "stride32": the last level at that share of the image;
- "level2", "level3", …: the levels by the authors' numbers, in the order of the rows that are
  marked as endpoints. Some networks have two at one stride;
- "stride8_first" and the like: the output of the first block at that stride, which
  torchvision's LR-ASPP takes;
- "stride16_expansion" and the like: the expanded tensor inside the block that leaves that
  stride, which SSDLite takes (arXiv:1801.04381, section 6.2);
- "final": the last feature map, as without `features`;
- "stride16_expansion|stride16" and the like: the first of these that the network has.
"""

from collections.abc import Sequence

import keras

from mobilequant.models.architecture import InvertedBottleneck, Row, UniversalInvertedBottleneck


class Levels:
    """Collects the levels while a network is built."""

    def __init__(self):
        self._tensors = {}
        self._expansions = {}
        self._marked_strides = set()
        self._next_level = 2

    def add(self, row: Row, entering: int, leaving: int, x) -> None:
        """Notes the output of a row.

        Args:
            row: the row.
            entering: strides of its input, in pixels of the image.
            leaving: strides of its output.
            x: its output.
        """
        self._tensors["final"] = x
        if row.endpoint:
            self._tensors[f"level{self._next_level}"] = x
            self._next_level += 1
            self._marked_strides.add(leaving)
        # At half the image no row is an endpoint; there the last tensor counts.
        if row.endpoint or leaving not in self._marked_strides:
            self._tensors[f"stride{leaving}"] = x
        self._tensors.setdefault(f"stride{leaving}_first", x)
        if entering != leaving and _expansion(row):
            self._expansions[f"stride{entering}_expansion"] = _expansion(row)

    def select(self, features: bool | Sequence[str], model: keras.Model) -> dict:
        """The tensors of these names.

        Args:
            features: `True` for one level a stride, from 2 on; or names.
            model: the network that the rows made.

        Raises:
            ValueError: a name is not known.
        """
        known = {
            **self._tensors,
            **{name: model.get_layer(layer).output for name, layer in self._expansions.items()},
        }
        if features is True:
            names = [f"stride{2**i}" for i in range(1, 6) if f"stride{2**i}" in known]
        else:
            names = [features] if isinstance(features, str) else list(features or ())
            names = [_first_known(name, known) for name in names]
        if not names or not all(name in known for name in names):
            raise ValueError(
                f"features={features!r} must be True or some of {', '.join(map(repr, known))}"
            )
        return {name: known[name] for name in names}


def _first_known(name: str, known: dict) -> str:
    """The first of alternatives that exists, or all of them, which then are no name."""
    return next((choice for choice in name.split("|") if choice in known), name)


def _expansion(row: Row) -> str | None:
    """The layer that ends the expansion of a block which filters, and strides, after it."""
    if isinstance(row, InvertedBottleneck) and row.expand_ratio != 1:
        return f"{row.name}_expand_{row.suffixes[1]}"
    if isinstance(row, UniversalInvertedBottleneck) and row.middle_kernel_size:
        return f"{row.name}_expand_activation"
    return None
