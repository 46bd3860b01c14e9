"""Keras' multi-head attention as the operators that it is made of."""

import keras
import pytest
from layer_checks import as_after_training, calibrated, check, kinds_of, outputs, reloaded, sample

import mobilequant as mq
from mobilequant.quantize import freeze

L = keras.layers


def self_attention(**options):
    x = keras.Input((16, 12), name="tokens")
    layer = L.MultiHeadAttention(3, 4, name="attention", bias_initializer="normal", **options)
    return keras.Model(x, layer(x, x))


def cross_attention():
    queries, memory = keras.Input((16, 12), name="queries"), keras.Input((8, 6), name="memory")
    layer = L.MultiHeadAttention(2, 4, value_dim=6, output_shape=10, use_bias=False)
    return keras.Model([queries, memory], layer(queries, value=memory))


@pytest.mark.parametrize("make", [self_attention, cross_attention])
def test_attention(make, tmp_path):
    qmodel = check(make(), tmp_path, tolerance=0.15)
    kinds = kinds_of(qmodel)
    assert kinds.count("FULLY_CONNECTED") == 4 and kinds.count("BATCH_MATMUL") == 2
    reloaded(qmodel, tmp_path)


def test_what_attention_multiplies_with_has_zero_point_0():
    tensors = {tensor.name: tensor for tensor in freeze(calibrated(self_attention())).tensors}
    assert tensors["attention_key"].zero_point == tensors["attention_value"].zero_point == 0
    assert tensors["attention"].shape == (16, 12)


def test_a_transformer_block_trains_and_agrees(tmp_path):
    x = keras.Input((16, 12), name="tokens")
    y = L.BatchNormalization()(x)
    y = L.Add()([x, L.MultiHeadAttention(2, 6, dropout=0.1)(y, y, y)])
    z = L.Dense(12)(L.Dense(24, activation="gelu")(L.BatchNormalization()(y)))
    model = as_after_training(keras.Model(x, L.GlobalAveragePooling1D()(L.Add()([y, z]))))
    qmodel = calibrated(model)
    qmodel.compile("adam", "mse", jit_compile=False)
    inputs = sample(model)
    qmodel.fit(inputs, outputs(model, inputs)[0], verbose=0)
    check(model, tmp_path, tolerance=0.15)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: L.MultiHeadAttention(2, 4, name="a")(x, x, use_causal_mask=True), "mask"),
        (
            lambda x: L.MultiHeadAttention(2, 4, name="a")(x, x, return_attention_scores=True)[0],
            "scores",
        ),
    ],
)
def test_what_attention_cannot_do_is_said_by_name(make, said):
    x = keras.Input((16, 12))
    with pytest.raises(ValueError, match=rf"'a' \(MultiHeadAttention\): .*{said}"):
        mq.quantize(keras.Model(x, make(x)))


def test_attention_at_low_precision():
    model = self_attention()
    qmodel = calibrated(model, "w4a4")
    assert qmodel.get_layer("attention_query").input_scheme.bits == 4
    assert outputs(qmodel, sample(model))[0].shape == (16, 16, 12)


def test_an_override_reaches_the_projections_of_an_attention():
    recipe = mq.Recipe.named("w8a8")
    recipe = mq.Recipe(recipe.weights, recipe.activations, overrides={"attention": "w4a8"})
    qmodel = mq.quantize(self_attention(), recipe)
    projections = [layer for layer in qmodel.layers if isinstance(layer, mq.layers.QuantizedDense)]
    assert [layer.weight_quantizer.scheme.bits for layer in projections] == [4] * 4
