"""What is quantized how: recipes, by name and as objects."""

from __future__ import annotations

import dataclasses
import re

from mobilequant.quantizers import ESTIMATORS, Scheme

_NAME = re.compile(r"w([1-8])a8")


def _default_weights():
    return Scheme(bits=8, grid="linear", granularity="channel")


def _default_activations():
    return Scheme(bits=8, grid="affine", granularity="tensor")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the weights and the activations of a model are quantized.

    Args:
        weights: A linear `Scheme` of 1 to 8 bits. Where the target's runtime takes one scale a
            tensor (dense layers), the granularity of that operator becomes "tensor".
        activations: An affine `Scheme` of 8 bits, granularity "tensor".
        name: For reports; made from the bits if not given.

    Raises:
        ValueError: A scheme that no operator of this release computes.
    """

    weights: Scheme = dataclasses.field(default_factory=_default_weights)
    activations: Scheme = dataclasses.field(default_factory=_default_activations)
    name: str = ""

    def __post_init__(self):
        if self.weights.grid != "linear":
            raise ValueError(
                "Recipe: weights need a linear scheme; a device has no zero point for them."
            )
        activations = self.activations
        if (activations.grid, activations.granularity, activations.bits) != ("affine", "tensor", 8):
            raise ValueError(
                "Recipe: activations need an affine scheme of 8 bits with granularity 'tensor', "
                f"not {activations}."
            )
        if not self.name:
            object.__setattr__(self, "name", f"w{self.weights.bits}a{activations.bits}")

    def with_estimator(self, estimator: str) -> Recipe:
        """The same recipe with another gradient estimator, "denoise" or "ste"."""
        if estimator not in ESTIMATORS:
            raise ValueError(f"Unknown estimator {estimator!r}; one of {ESTIMATORS}.")
        return dataclasses.replace(
            self,
            weights=dataclasses.replace(self.weights, estimator=estimator),
            activations=dataclasses.replace(self.activations, estimator=estimator),
        )


def get(recipe: str | Recipe) -> Recipe:
    """Returns the recipe of that name.

    Args:
        recipe: "w8a8", "w4a8", … (weights of 1 to 8 bits, activations of 8), or a `Recipe`, which
            is returned as it is.

    Raises:
        ValueError: There is no such recipe.
    """
    if isinstance(recipe, Recipe):
        return recipe
    match = _NAME.fullmatch(recipe) if isinstance(recipe, str) else None
    if not match:
        raise ValueError(
            f"Unknown recipe {recipe!r}; use 'w8a8' (or 'w7a8' … 'w1a8'), or an mq.Recipe."
        )
    return Recipe(weights=dataclasses.replace(_default_weights(), bits=int(match[1])))
