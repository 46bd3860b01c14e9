"""What is compared: precisions, methods, ablations, as one list of runs.

A run is named by its key, "group/precision/method/seed". Runs of one comparison differ in the
recipe alone: data, order, schedule, epochs and initial weights are alike.
"""

from __future__ import annotations

import dataclasses
import functools

import network

import mobilequant as mq

SEEDS = (0, 1, 2)

#: Bits of weights and activations, sparsity of the weights.
PRECISIONS = {
    "w4a4": (4, 4, None),
    "w2a2": (2, 2, None),
    "w1a1": (1, 1, None),
    "w1a4": (1, 4, None),
    "w1a4-2:4": (1, 4, "2:4"),
}

#: Estimator, grid of the weights, grid of the activations.
METHODS = {
    "ste linear": ("ste", "linear", "linear"),
    "ste affine": ("ste", "affine", "affine"),
    "lsq": ("lsq", "linear", "affine"),
    "denoise linear": ("denoise", "linear", "linear"),
    "denoise affine": ("denoise", "affine", "affine"),
}

#: λ at W1A1; 0.01 is the default and part of the comparison.
RIDGES = (0.0, 0.0001, 0.001, 0.01, 0.1, 1.0)

#: Factors on the learning rate at W2A2.
RATES = (0.1, 1.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        key: Its name in the results.
        recipe: `mq.Recipe`, or None for float.
        build: Makes the float network, from `widths` and `blocks`.
        rate: Factor on the learning rate.
    """

    key: str
    recipe: mq.Recipe | None = None
    build: object = network.residual_network
    rate: float = 1.0

    @property
    def group(self) -> str:
        return self.key.split("/")[0]

    @property
    def seed(self) -> int:
        return int(self.key.rsplit("/", 1)[1])


def all_runs(seeds: int = len(SEEDS)) -> list[Run]:
    """Every run, those that say most first: an interrupted benchmark is worth something."""
    rounds = [comparison(seed) for seed in SEEDS[:seeds]]
    first, *more = rounds or [[]]
    return [*first, *rates(), *ridges(), *mobilenets(), *ablations(), *sum(more, [])]


def comparison(seed) -> list[Run]:
    """Every precision by every method."""
    runs = [Run(f"comparison/float/float/{seed}")]
    for precision in PRECISIONS:
        for method in METHODS:
            if recipe := recipe_of(precision, method):
                runs.append(Run(f"comparison/{precision}/{method}/{seed}", recipe))
    return runs


def rates() -> list[Run]:
    """How much the learning rate matters: ten times less and more at W2A2."""
    return [
        Run(f"rate/{rate:g}/{method}/0", recipe_of("w2a2", method), rate=rate)
        for rate in RATES
        if rate != 1.0
        for method in ("ste affine", "lsq", "denoise affine")
    ]


def ridges() -> list[Run]:
    """Accuracy over λ at W1A1."""
    return [
        Run(f"ridge/{ridge:g}/denoise {grid}/0", recipe_of("w1a1", f"denoise {grid}", ridge=ridge))
        for ridge in RIDGES
        if ridge != 0.01
        for grid in ("affine",)
    ]


def mobilenets() -> list[Run]:
    """A small MobileNetV2, by the recipes that files are made of and at W4A4."""
    runs = [Run("mobilenet/float/float/0", build=network.mobilenet)]
    for precision in ("w8a8", "w4a8", "ternary-a8", "w4a4"):
        for estimator in ("ste", "lsq", "denoise"):
            recipe = mq.Recipe.named(precision).with_estimator(estimator)
            runs.append(Run(f"mobilenet/{precision}/{estimator}/0", recipe, network.mobilenet))
    return runs


def recipe_of(precision, method, **changes) -> mq.Recipe | None:
    """The recipe of a method at a precision; None where there is none.

    All methods have the ranges and the clipping of the named recipes, first and last layer are at
    8 bits with the same estimator. Sparse weights are linear. Where a tensor has 1 bit, "lsq" has
    nothing to learn from (arXiv:1902.08153 starts at 2 bits).

    Args:
        precision: A key of `PRECISIONS`.
        method: A key of `METHODS`.
        changes: Fields of both schemes that differ.
    """
    bits, activation_bits, sparsity = PRECISIONS[precision]
    estimator, grid, activation_grid = METHODS[method]
    if estimator == "lsq" and 1 in (bits, activation_bits):
        return None
    if sparsity:
        grid = "linear"
    recipe = mq.Recipe.named(precision)
    weights = dataclasses.replace(recipe.weights, grid=grid, **changes)
    activations = dataclasses.replace(recipe.activations, grid=activation_grid, **changes)
    recipe = dataclasses.replace(recipe, weights=weights, activations=activations, name="")
    return recipe.with_estimator(estimator)


def ablations() -> list[Run]:
    """What decides more than the estimator; each differs from the default in one thing."""
    runs = []

    def add(precision, name, recipe=None, build=network.residual_network, **changes):
        recipe = recipe or changed(precision, **changes)
        runs.append(Run(f"ablation/{precision}/{name}/0", recipe, build))

    for precision in ("w1a1", "w2a2"):
        add(precision, "range minmax", weights={"range": "minmax"}, activations={"range": "minmax"})
        add(precision, "range percentile", activations={"range": "percentile"})
        add(precision, "range learned", activations={"range": "learned"})
        default = mq.Recipe.named(precision)
        for part in ("weights", "activations"):
            clip = not getattr(default, part).clip_gradient
            word = "clipped" if clip else "not clipped"
            add(precision, f"{part} gradient {word}", **{part: {"clip_gradient": clip}})
        add(precision, "weights one scale", weights={"granularity": "tensor"})
        add(precision, "weights blocks of 32", weights={"granularity": "block", "block_size": 32})
        add(precision, "activations a scale a channel", activations={"granularity": "channel"})
        add(precision, "nothing at 8 bits", dataclasses.replace(default, overrides={}))
        more = {**default.overrides, "*shortcut": mq.Recipe.named("w8a8")}
        add(precision, "shortcuts at 8 bits", dataclasses.replace(default, overrides=more))
        for order in ("signed", "norm"):
            build = functools.partial(network.residual_network, order=order)
            add(precision, f"order {order}", default, build)
    return runs


def changed(precision, weights=None, activations=None) -> mq.Recipe:
    """The named recipe with changes to its schemes."""
    recipe = mq.Recipe.named(precision)
    return dataclasses.replace(
        recipe,
        weights=dataclasses.replace(recipe.weights, **(weights or {})),
        activations=dataclasses.replace(recipe.activations, **(activations or {})),
    )
