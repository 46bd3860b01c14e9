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
    "w4a8": (4, 8, None),
    "ternary-a8": ("ternary", 8, None),
    "w4a4": (4, 4, None),
    "w2a2": (2, 2, None),
    "w1a1": (1, 1, None),
    "w1a4": (1, 4, None),
    "w1a4-2:4": (1, 4, "2:4"),
}

#: Estimator and grid of the weights. Activations, which come from a ReLU, are affine for all: of
#: the one linear set of 1 bit, {−1, +1}, they would only ever be +1.
METHODS = {
    "ste linear": ("ste", "linear"),
    "ste affine": ("ste", "affine"),
    "lsq": ("lsq", "linear"),
    "denoise linear": ("denoise", "linear"),
    "denoise affine": ("denoise", "affine"),
}

NETWORKS = {
    "residual": network.residual_network,
    "residual-signed": functools.partial(network.residual_network, order="signed"),
    "residual-norm": functools.partial(network.residual_network, order="norm"),
    "mobilenet": network.mobilenet,
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
        network: A key of `NETWORKS`.
        rate: Factor on the learning rate.
        warm: Whether it starts from the weights of the float epochs; if not, from random ones,
            and all epochs are quantized.
    """

    key: str
    recipe: mq.Recipe | None = None
    network: str = "residual"
    rate: float = 1.0
    warm: bool = True

    @property
    def build(self):
        """Makes the float network, from `widths` and `blocks`."""
        return NETWORKS[self.network]

    @property
    def group(self) -> str:
        return self.key.split("/")[0]

    @property
    def seed(self) -> int:
        return int(self.key.rsplit("/", 1)[1])


def all_runs(seeds: int = len(SEEDS)) -> list[Run]:
    """Every run, those that say most first: an interrupted benchmark is worth something."""
    first, *more = [comparison(seed) for seed in SEEDS[:seeds]] or [[]]
    runs = [*first, *rates(), *ridges(), *scratch(), *sum(more, []), *mobilenets(), *ablations()]
    keys = [run.key for run in runs]
    assert len(set(keys)) == len(keys)
    return runs


def comparison(seed) -> list[Run]:
    """Every precision by every method; straight-through affine weights with the first seed only.

    The two for a device are there for the default's sake, beside straight-through.
    """
    runs = [Run(f"comparison/float/float/{seed}")]
    for precision in PRECISIONS:
        for method in METHODS:
            if method == "ste affine" and seed:
                continue
            if method == "lsq" and precision.endswith("a8"):
                continue
            if recipe := recipe_of(precision, method):
                runs.append(Run(f"comparison/{precision}/{method}/{seed}", recipe))
    return runs


def scratch() -> list[Run]:
    """W1A1 from random weights, quantized from the first step on."""
    runs = [
        Run(f"scratch/w1a1/{method}/0", recipe_of("w1a1", method), warm=False)
        for method in ("ste affine", "denoise affine")
    ]
    fixed = plain("w1a1")
    for estimator in ("ste", "denoise"):
        key = f"scratch/w1a1/{estimator} affine, fixed width/0"
        runs.append(Run(key, fixed.with_estimator(estimator), warm=False))
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
    runs = [Run("mobilenet/float/float/0", network="mobilenet")]
    for precision, estimators in (
        ("w8a8", mq.quantizers.ESTIMATORS),
        ("w4a8", mq.quantizers.ESTIMATORS),
        ("w4a4", mq.quantizers.ESTIMATORS),
        ("ternary-a8", ("denoise",)),
    ):
        for estimator in estimators:
            recipe = mq.Recipe.named(precision).with_estimator(estimator)
            runs.append(Run(f"mobilenet/{precision}/{estimator}/0", recipe, "mobilenet"))
    return runs


def recipe_of(precision, method, **changes) -> mq.Recipe | None:
    """The recipe of a method at a precision; None where there is none.

    All methods have the ranges and the clipping of the named recipes, first and last layer are at
    8 bits with the same estimator. Where a tensor has 1 bit, "lsq" has
    nothing to learn from (arXiv:1902.08153 starts at 2 bits).

    Args:
        precision: A key of `PRECISIONS`.
        method: A key of `METHODS`.
        changes: Fields of both schemes that differ.
    """
    bits, activation_bits, sparsity = PRECISIONS[precision]
    estimator, grid = METHODS[method]
    if estimator == "lsq" and 1 in (bits, activation_bits):
        return None
    # Sparse weights, and those of a file for a device, are linear.
    if grid == "affine" and (sparsity or activation_bits == 8):
        return None
    recipe = mq.Recipe.named(precision)
    weights = dataclasses.replace(recipe.weights, grid=grid, **changes)
    activations = dataclasses.replace(recipe.activations, **changes)
    recipe = dataclasses.replace(recipe, weights=weights, activations=activations, name="")
    return recipe.with_estimator(estimator)


def plain(precision) -> mq.Recipe:
    """What the ablations start from: ranges of fixed width, ends at 8 bits, nothing clipped.

    The named recipes were this before the ablations; what came out ahead is in them now.
    """
    recipe = mq.Recipe.named(precision)
    activations = dataclasses.replace(recipe.activations, range="std", clip_gradient=False)
    ends = {role: "w8a8" for role in ("first", "last")}
    return dataclasses.replace(recipe, activations=activations, overrides=ends, name="")


def ablations() -> list[Run]:
    """What decides more than the estimator; each differs from `plain` in what its name says."""
    runs = []

    def add(precision, name, recipe=None, network="residual", **changes):
        recipe = recipe or changed(plain(precision), **changes)
        runs.append(Run(f"ablation/{precision}/{name}/0", recipe, network))

    minmax = {"range": "minmax", "range_width": None}
    learned = {"range": "learned", "clip_gradient": True}
    clipped = {"clip_gradient": True}
    for precision in ("w1a1", "w2a2"):
        base = plain(precision)
        shortcuts = {**base.overrides, "shortcut": "w8a8"}
        add(precision, "none", base)
        add(precision, "range minmax", weights=minmax, activations=minmax)
        add(precision, "range of activations learned", activations=learned)
        add(precision, "activations, gradient clipped", activations=clipped)
        add(precision, "nothing at 8 bits", dataclasses.replace(base, overrides={}))
        add(precision, "shortcuts at 8 bits too", dataclasses.replace(base, overrides=shortcuts))
    both = {"range": "learned", "clip_gradient": True, "range_width": None}
    add("w2a2", "range of weights and activations learned", weights=both, activations=learned)
    narrow = {"range_width": None}
    add("w1a1", "range of activations as of a normal distribution", activations=narrow)
    add("w1a1", "weights, gradient clipped", weights=clipped)
    add("w1a1", "weights, one scale", weights={"granularity": "tensor"})
    add("w1a1", "weights, blocks of 32", weights={"granularity": "block", "block_size": 32})
    add("w1a1", "activations, one scale a channel", activations={"granularity": "channel"})
    add("w1a1", "no ReLU before the quantizer", plain("w1a1"), "residual-signed")
    add("w1a1", "normalization for ReLU", plain("w1a1"), "residual-norm")
    # In a MobileNet, whose signed and depthwise inputs differ more in their shape.
    add("w4a4", "none", plain("w4a4"), "mobilenet")
    add("w4a4", "range of activations learned", network="mobilenet", activations=learned)
    return runs


def changed(recipe, weights=None, activations=None) -> mq.Recipe:
    """The recipe with changes to its schemes."""
    return dataclasses.replace(
        recipe,
        weights=dataclasses.replace(recipe.weights, **(weights or {})),
        activations=dataclasses.replace(recipe.activations, **(activations or {})),
    )
