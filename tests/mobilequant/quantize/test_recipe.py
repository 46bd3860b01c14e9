"""Recipes by name and as objects: what they stand for, which layer gets which."""

import keras
import pytest

import mobilequant as mq
from mobilequant.quantize.recipe import Recipe, get
from mobilequant.quantizers import ESTIMATORS, Scheme

DEVICE = Scheme(bits=8, grid="affine", granularity="tensor")
FIRST_AND_LAST = ["first", "last"]
AND_SHORTCUTS = ["first", "last", "shortcut"]


@pytest.mark.parametrize(
    ("name", "weights", "activations", "sparsity", "overrides"),
    [
        ("w8a8", 8, 8, None, []),
        ("w4a8", 4, 8, None, FIRST_AND_LAST),
        ("w2a8", 2, 8, None, FIRST_AND_LAST),
        ("w1a8", 1, 8, None, FIRST_AND_LAST),
        ("ternary-a8", "ternary", 8, None, FIRST_AND_LAST),
        ("ternary-a2", "ternary", 2, None, AND_SHORTCUTS),
        ("w4a4", 4, 4, None, FIRST_AND_LAST),
        ("w2a2", 2, 2, None, AND_SHORTCUTS),
        ("w1a1", 1, 1, None, AND_SHORTCUTS),
        ("w1a4", 1, 4, None, AND_SHORTCUTS),
        ("w8a8-2:4", 8, 8, "2:4", []),
        ("w1a4-2:4", 1, 4, "2:4", AND_SHORTCUTS),
        ("ternary-a8-1:4", "ternary", 8, "1:4", FIRST_AND_LAST),
        ("w8a8-50%", 8, 8, 0.5, []),
        ("w4a8-75%", 4, 8, 0.75, FIRST_AND_LAST),
        ("w32a32-2:4", 32, 32, "2:4", []),
        ("w32a8", 32, 8, None, []),
    ],
)
def test_names(name, weights, activations, sparsity, overrides):
    recipe = get(name)
    assert recipe.name == name
    assert recipe.weights.bits == weights and recipe.weights.sparsity == sparsity
    assert recipe.activations.bits == activations
    # Low precision leaves the ends of a network at 8 bits, as the papers do.
    assert list(recipe.overrides) == overrides
    assert all(other == get("w8a8") for other in recipe.overrides.values())
    # What has activations that a device holds has weights that it holds.
    assert recipe.activations.on_device_grid == (activations == 8)
    if activations == 8:
        assert recipe.weights.grid == "linear" and recipe.weights.granularity == "channel"
        assert recipe.outputs == recipe.image == recipe.activations
    else:
        assert not recipe.outputs.quantized
        assert recipe.image.quantized == recipe.activations.quantized
    assert get(recipe) is recipe


@pytest.mark.parametrize(
    "name",
    ["", "w9a8", "w0a8", "w8", "a8", "w8a16", "W8A8", "w8a8-", "w8a8-50", "w8a8-2-4", "w4a8 ",
     "ternary", "ternarya8", "ternary-a", "int8", "w8a8-2:4-50%", None, 8, {}],
)  # fmt: skip
def test_unknown_names(name):
    with pytest.raises(ValueError, match="Unknown recipe .*'w8a8'.*'ternary-a8'.*mq.Recipe"):
        get(name)


@pytest.mark.parametrize("name", ["w8a8-4:2", "w8a8-0:4", "w8a8-4:4", "w8a8-0%", "w8a8-100%"])
def test_names_of_impossible_sparsity(name):
    with pytest.raises(ValueError, match="sparsity"):
        get(name)


def test_overrides_by_name_pattern_and_role_and_the_last_holds():
    recipe = Recipe(
        weights=Scheme(bits=2),
        overrides={
            "block_*": "w4a8",
            "block_1*": "w8a8",
            "depthwise": "w8a4",
            "last": "w1a8",
            "classes": Recipe(weights=Scheme(bits=3)),
        },
    )

    def bits(name, roles=()):
        return recipe.of(name, roles).weights.bits

    assert bits("stem") == 2
    assert recipe.of("stem") is recipe
    assert bits("block_2") == 4
    assert bits("block_12") == 8
    assert bits("my_block_1") == 2
    assert recipe.of("block_1_depthwise", ["depthwise"]).activations.bits == 4
    assert bits("head", ["last", "dense"]) == 1
    assert bits("classes", ["last", "dense"]) == 3
    # A role is no name: a layer that happens to be called so is not meant.
    assert bits("last") == 2
    # The other order.
    turned = Recipe(weights=Scheme(bits=2), overrides={"block_1*": "w8a8", "block_*": "w4a8"})
    assert turned.of("block_12").weights.bits == 4
    # Case counts.
    assert bits("Block_2") == 2


def test_bad_overrides():
    with pytest.raises(ValueError, match="Unknown recipe 'w9a9'"):
        Recipe(overrides={"first": "w9a9"})


def test_what_is_for_weights_or_for_activations_only():
    with pytest.raises(ValueError, match="'moving' is for activations"):
        Recipe(weights=Scheme(range="moving"))
    for scheme in (Scheme(granularity="block"), Scheme(sparsity="2:4"), Scheme(sparsity=0.5)):
        with pytest.raises(ValueError, match="blocks and sparsity are for weights"):
            Recipe(activations=scheme)
    Recipe(activations=Scheme(grid="affine", granularity="tensor", range="moving"))


def test_names_are_made():
    for name in ("w8a8", "w4a8", "ternary-a8", "w1a4-2:4", "w8a8-50%", "w8a8-7%"):
        recipe = get(name)
        assert Recipe(weights=recipe.weights, activations=recipe.activations).name == name
    assert Recipe(name="mine").name == "mine"


def test_repr():
    assert repr(get("w8a8")).startswith("Recipe('w8a8': weights=Scheme(bits=8), activations=")
    assert "overrides={'first': 'w8a8', 'last': 'w8a8'}" in repr(get("w4a4"))
    assert "Scheme(bits=4" in repr(get("w4a8"))


def test_equal_recipes_are_equal():
    assert get("w2a2") == get("w2a2") != get("w2a4")
    assert hash(get("w2a2")) == hash(get("w2a2"))


@pytest.mark.parametrize("name", ["w8a8", "w4a4", "w2a2", "ternary-a8", "w8a8-2:4", "w32a32-2:4"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_with_estimator(name, estimator):
    recipe = get(name)
    changed = recipe.with_estimator(estimator)
    parts = [changed, *changed.overrides.values()]
    for part in parts:
        for scheme in (part.weights, part.activations):
            assert scheme.estimator == estimator or not scheme.quantized
            if estimator == "lsq" and scheme.quantized:
                assert scheme.range == "learned"
        # Other estimators learn no range but that of activations below 8 bits.
        if estimator != "lsq":
            assert part.weights.range != "learned"
            few = part.activations.bits < 8
            assert (part.activations.range == "learned") == few
    for before, after in (
        (recipe.weights, changed.weights),
        (recipe.activations, changed.activations),
    ):
        assert (before.bits, before.grid, before.sparsity) == (
            after.bits,
            after.grid,
            after.sparsity,
        )
    assert changed.name == name and list(changed.overrides) == list(recipe.overrides)
    # There and back.
    for again in ESTIMATORS:
        assert changed.with_estimator(again).with_estimator(estimator).weights.estimator in (
            estimator,
            recipe.weights.estimator,
        )


def test_a_share_is_no_number_of_deviations():
    weights = Scheme(bits=4, range="percentile", range_width=0.99)
    changed = Recipe(weights=weights).with_estimator("lsq").weights
    assert changed.width == Scheme(bits=4, range="std").width


def test_estimators_that_do_not_go():
    with pytest.raises(ValueError, match="Unknown estimator 'magic'.*'denoise'"):
        get("w8a8").with_estimator("magic")
    with pytest.raises(ValueError, match="'lsq' starts at 2 bits"):
        get("w1a1").with_estimator("lsq")


def test_public_name():
    assert mq.Recipe.named("w2a2") == get("w2a2")


def test_shortcuts_are_1x1_convolutions_past_a_residual_branch():
    def bits_of(model):
        qmodel = mq.quantize(model, Recipe(overrides={"shortcut": "w3a8"}))
        return {
            layer.name: layer.weight_scheme.bits
            for layer in qmodel.layers
            if isinstance(layer, mq.layers.FoldedLayer)
        }

    layers = keras.layers
    image = keras.Input((8, 8, 4))
    y = layers.Conv2D(6, 3, 2, padding="same", name="branch")(image)
    y = layers.BatchNormalization()(y)
    x = layers.BatchNormalization()(layers.Conv2D(6, 1, 2, name="past")(image))
    x = layers.Add()([x, y])
    # An inverted bottleneck: its projection is 1×1 and goes into an addition, but not past it.
    y = layers.Conv2D(12, 1, name="expand", activation="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2D(6, 1, name="project")(y)
    found = bits_of(keras.Model(image, layers.Add()([x, y])))
    assert found == {"branch": 8, "past": 3, "expand": 8, "depthwise": 8, "project": 8}
