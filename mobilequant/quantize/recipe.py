"""What is quantized how: recipes, by name and as objects."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping

from mobilequant.quantizers import ESTIMATORS, FLOAT_BITS, TERNARY, Scheme

#: Layers that an override can mean without naming one.
ROLES = ("first", "last", "shortcut", "depthwise", "dense")

_NAME = re.compile(r"(?:w([1-8]|32)|(ternary)-)a([1-8]|32)(?:-(\d+:\d+)|-(\d+)%)?")
_FORMS = (
    "'w8a8', 'w4a8', 'w2a2' (weights and activations of 1 to 8 bits, or of 32: float), "
    "'ternary-a8', each with '-2:4' (N:M) or '-50%' for sparse weights"
)
_DEVICE_ACTIVATIONS = Scheme(bits=8, grid="affine", granularity="tensor", range_gradient=False)
_FLOAT = Scheme(bits=FLOAT_BITS, granularity="tensor")


#: Half width in standard deviations of the range, from the smallest value on, after which a
#: regression on so many levels explains most of a normal distribution behind a ReLU: for
#: activations what `quantizers.scheme.GAUSSIAN_WIDTHS` are for weights (a test computes them).
RECTIFIED_WIDTHS = {1: 1.75, 2: 2.7, 3: 3.55, 4: 4.25, 5: 4.9, 6: 5.55, 7: 6.05}


@dataclasses.dataclass(frozen=True, repr=False)
class Recipe:
    """How the weights and the activations of a model are quantized.

    With activations of 8 bits on a device's grid (affine, one scale), everything that flows from
    layer to layer is quantized so, and linear weights make a model that `convert` writes. With any
    other activations only what convolutions and dense layers take is quantized by that scheme;
    between the layers (residual connections, additions, pooling) flows float, as in the papers on
    low precision, and such a model trains and evaluates in Keras.

    Args:
        weights: `Scheme` of the weights. Where the target's runtime takes one scale a tensor
            (dense layers), the granularity of that operator becomes "tensor". Depthwise kernels,
            whose input dimension is 1, stay dense.
        activations: `Scheme` of the activations.
        overrides: Which layers have other schemes: a mapping from a layer name, a pattern
            ("block_1*"), or a role ("first", "last": of all layers with weights; "shortcut": 1×1
            convolutions past a residual branch; "depthwise", "dense") to a recipe or its name, of
            which weights and activations count. The last one that fits a layer holds.
        name: For reports; made from the bits if not given.

    Raises:
        ValueError: A scheme that cannot be that of weights, or of activations.

    Example:
        mq.Recipe(
            weights=mq.Scheme(bits=2, range="std"),
            activations=mq.Scheme(bits=4, grid="affine", granularity="tensor"),
            overrides={"first": "w8a8", "last": "w8a8", "*_project": "w4a8"},
        )
    """

    weights: Scheme = Scheme(bits=8)
    activations: Scheme = _DEVICE_ACTIVATIONS
    overrides: Mapping[str, Recipe | str] = dataclasses.field(default_factory=dict, hash=False)
    name: str = ""

    def __post_init__(self):
        if self.weights.range == "moving":
            raise ValueError("Recipe: range 'moving' is for activations; weights have 'minmax'.")
        activations = self.activations
        if activations.granularity == "block" or activations.sparsity is not None:
            raise ValueError(
                f"Recipe: blocks and sparsity are for weights; activations are {activations}."
            )
        overrides = {pattern: get(value) for pattern, value in dict(self.overrides).items()}
        object.__setattr__(self, "overrides", overrides)
        if not self.name:
            object.__setattr__(self, "name", _name(self.weights, activations))

    def __repr__(self):
        parts = [f"weights={self.weights!r}", f"activations={self.activations!r}"]
        if self.overrides:
            inner = ", ".join(f"{key!r}: {value.name!r}" for key, value in self.overrides.items())
            parts.append(f"overrides={{{inner}}}")
        return f"Recipe({self.name!r}: {', '.join(parts)})"

    @classmethod
    def named(cls, name: str) -> Recipe:
        """The recipe that a name such as "w2a2" stands for, to look at or to change.

        Args:
            name: "w8a8", "w4a8", "ternary-a8", "w2a2", "w1a4-2:4", "w8a8-50%", …

        Raises:
            ValueError: There is no such recipe.
        """
        return get(name)

    @property
    def outputs(self) -> Scheme:
        """`Scheme` of what flows between the layers."""
        return self.activations if self.activations.on_device_grid else _FLOAT

    @property
    def image(self) -> Scheme:
        """`Scheme` of the model's input: 8 bits, as a camera gives it, or float with the rest."""
        if self.activations.on_device_grid or not self.activations.quantized:
            return self.outputs
        return dataclasses.replace(
            _DEVICE_ACTIVATIONS,
            estimator="ste" if self.activations.estimator == "ste" else "denoise",
        )

    def of(self, name: str, roles=()) -> Recipe:
        """The recipe of a layer: this one, or the last override that fits.

        Args:
            name: The layer's name.
            roles: Its roles, of `ROLES`.
        """
        chosen = self
        for pattern, recipe in self.overrides.items():
            if pattern in roles or (pattern not in ROLES and fnmatch.fnmatchcase(name, pattern)):
                chosen = recipe
        return chosen

    def with_estimator(self, estimator: str) -> Recipe:
        """The same recipe, overrides included, with another estimator.

        Args:
            estimator: "denoise", "ste" or "lsq".
        """
        if estimator not in ESTIMATORS:
            raise ValueError(f"Unknown estimator {estimator!r}; one of {ESTIMATORS}.")
        return dataclasses.replace(
            self,
            weights=_with_estimator(self.weights, estimator),
            activations=_with_estimator(self.activations, estimator),
            overrides={
                pattern: recipe.with_estimator(estimator)
                for pattern, recipe in self.overrides.items()
            },
        )


def get(recipe: str | Recipe) -> Recipe:
    """Returns the recipe of that name.

    Args:
        recipe: "w8a8", "w4a8", "ternary-a8", "w2a2", "w1a4-2:4", "w8a8-50%", …, or a `Recipe`,
            which is returned as it is.

    Raises:
        ValueError: There is no such recipe.
    """
    if isinstance(recipe, Recipe):
        return recipe
    match = _NAME.fullmatch(recipe) if isinstance(recipe, str) else None
    if not match:
        raise ValueError(f"Unknown recipe {recipe!r}; use {_FORMS}, or an mq.Recipe.")
    weight_bits, ternary, activation_bits, pattern, percent = match.groups()
    sparsity = pattern or (int(percent) / 100 if percent else None)
    activations = default_activations(int(activation_bits))
    weights = default_weights(
        TERNARY if ternary else int(weight_bits), sparsity, for_device=activations.on_device_grid
    )
    whole = {8, FLOAT_BITS}
    bits = {weights.bits, activations.bits}
    kept = () if bits <= whole else ("first", "last")
    # `benchmarks/lowbit`: at 1 and 2 bits more than a point comes from this, and little work is
    # in it. Where 8 bits are what flows, it would change the weights alone.
    if activations.bits < 8 and bits & {1, 2, TERNARY}:
        kept += ("shortcut",)
    overrides = dict.fromkeys(kept, "w8a8")
    return Recipe(weights=weights, activations=activations, overrides=overrides, name=recipe)


def default_weights(bits, sparsity=None, for_device=True) -> Scheme:
    """The scheme of a named recipe's weights; `benchmarks/lowbit` compares it with others.

    Args:
        bits: As in `Scheme`.
        sparsity: As in `Scheme`.
        for_device: Whether a device must hold them: linear. At 1 bit they are affine otherwise,
            as the paper has them; over three seeds the two came out level.
    """
    few = bits == TERNARY or bits <= 4
    affine = bits == 1 and not for_device and not sparsity
    return Scheme(
        bits=bits,
        grid="affine" if affine else "linear",
        range="std" if few else "minmax",
        sparsity=sparsity,
    )


def default_activations(bits) -> Scheme:
    """The scheme of a named recipe's activations, see `default_weights`.

    Below 8 bits the range starts from the first batch and is learned: on par with ranges of
    fixed width in a residual network behind ReLU, far ahead in a MobileNet.
    """
    if bits == 8:
        return _DEVICE_ACTIVATIONS
    if bits == FLOAT_BITS:
        return _FLOAT
    return Scheme(
        bits=bits,
        grid="affine",
        granularity="tensor",
        range="learned",
        range_width=RECTIFIED_WIDTHS[bits],
        clip_gradient=True,
    )


def _with_estimator(scheme, estimator):
    if not scheme.quantized:
        return scheme
    changes = {"estimator": estimator}
    if estimator == "lsq":
        # Learning starts at so many deviations, which only these ranges count in.
        deviations = scheme.range in ("std", "learned")
        changes["range_width"] = scheme.range_width if deviations else None
    if scheme.estimator == "lsq" and estimator != "lsq":
        changes |= {"range": "minmax", "range_width": None, "clip_gradient": False}
    return dataclasses.replace(scheme, **changes)


def _name(weights, activations):
    first = "ternary-" if weights.bits == TERNARY else f"w{weights.bits}"
    bits = activations.bits
    name = f"{first}a{bits}"
    if weights.sparsity is None:
        return name
    if isinstance(weights.sparsity, str):
        return f"{name}-{weights.sparsity}"
    return f"{name}-{100 * weights.sparsity:g}%"
