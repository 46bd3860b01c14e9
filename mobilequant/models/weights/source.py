"""Where weights come from: what the model must be like for them, and how they are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras


@dataclass
class Source:
    """A set of weights, and the conventions that they were trained with.

    Attributes:
        padding: `"same"` or `"symmetric"`, see `Conventions`.
        batch_norm_epsilon: added to the variance.
        dilate_strided: whether a convolution that loses its strides to dilation is dilated
            itself.
    """

    padding: str = "same"
    batch_norm_epsilon: float = 1e-3
    dilate_strided: bool = False

    def load(self, model: keras.Model) -> None:
        """Sets the weights of a built model.

        Raises:
            ValueError: the weights do not fit the model.
        """
        raise NotImplementedError


class NoWeights(Source):
    """The random weights that the model has already."""

    def load(self, model: keras.Model) -> None:
        del model


def describe_misfit(
    missing: Sequence[str], extra: Sequence[str], misshapen: Sequence[str]
) -> str | None:
    """One sentence that lists what does not fit, or `None` where everything does."""
    kinds = (
        ("missing in the file", missing),
        ("in the file but not in the model", extra),
        ("of another shape", misshapen),
    )
    lists = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds if names]
    return "; ".join(lists) or None


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
