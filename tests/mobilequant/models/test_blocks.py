"""The blocks alone: which layers they become, and what the layers compute."""

import keras
import numpy as np
import pytest

import mobilequant.models as models


def _kernels(model) -> list[tuple[str, int, int]]:
    """(kind, kernel size, strides) of all convolutions, in order."""
    return [
        (type(x).__name__.removesuffix("Conv2D"), x.kernel_size[0], x.strides[0])
        for x in model.layers
        if isinstance(x, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
    ]


def _model(block, channels: int = 8, size: int = 8, **options) -> keras.Model:
    image = keras.Input((size, size, channels))
    return keras.Model(image, block(image, **options))


@pytest.mark.parametrize(
    ("kernels", "convolutions"),
    [
        ((0, 3), [("", 1, 1), ("Depthwise", 3, 1), ("", 1, 1)]),  # inverted bottleneck
        ((5, 0), [("Depthwise", 5, 1), ("", 1, 1), ("", 1, 1)]),  # ConvNext-like
        ((3, 5), [("Depthwise", 3, 1), ("", 1, 1), ("Depthwise", 5, 1), ("", 1, 1)]),
        ((0, 0), [("", 1, 1), ("", 1, 1)]),  # feed-forward network
    ],
)
def test_depthwise_kernels_make_the_kind(kernels, convolutions):
    start, middle = kernels
    model = _model(
        models.universal_inverted_bottleneck,
        filters=8,
        start_kernel_size=start,
        middle_kernel_size=middle,
    )
    assert _kernels(model) == convolutions
    # One activation after the expansion, one after the middle kernel, none elsewhere.
    activations = [x for x in model.layers if isinstance(x, keras.layers.ReLU)]
    assert len(activations) == 1 + bool(middle)
    assert model.layers[-1].name.endswith("_add")


@pytest.mark.parametrize(
    ("kernels", "strided"), [((3, 5, 3), 5), ((3, 0, 0), 3), ((3, 0, 5), 3), ((0, 0, 5), 5)]
)
def test_the_middle_kernel_strides_if_there_is_one(kernels, strided):
    start, middle, end = kernels
    model = _model(
        models.universal_inverted_bottleneck,
        filters=8,
        start_kernel_size=start,
        middle_kernel_size=middle,
        end_kernel_size=end,
        strides=2,
    )
    strides = [(size, strides) for kind, size, strides in _kernels(model) if kind]
    assert [size for size, step in strides if step == 2] == [strided]
    assert model.output_shape == (None, 4, 4, 8)
    assert not any(isinstance(x, keras.layers.Add) for x in model.layers)


def test_strides_need_a_kernel():
    with pytest.raises(ValueError, match="my_block.*depthwise kernel"):
        _model(
            models.universal_inverted_bottleneck,
            filters=8,
            middle_kernel_size=0,
            strides=2,
            name="my_block",
        )
    with pytest.raises(ValueError, match="my_block.*expand_ratio=1"):
        _model(
            models.fused_inverted_bottleneck, filters=8, expand_ratio=1, strides=2, name="my_block"
        )


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'relu7' must be one of relu, relu6"):
        _model(models.conv_bn, filters=8, activation="relu7")


def test_blocks_compose_and_save(tmp_path, images, randomize):
    image = keras.Input((32, 32, 3))
    x = models.conv_bn(image, 8, strides=2, layer_names=("a", "b", "c"))
    x = models.depthwise_separable(x, 16, layer_names=("d", "e"))
    x = models.inverted_bottleneck(x, 16, se_ratio=0.25, stochastic_depth=0.1, name="f")
    x = models.fused_inverted_bottleneck(x, 24, strides=2, name="g")
    x = models.universal_inverted_bottleneck(x, 24, layer_scale=0.1, name="h")
    x = models.mobile_mqa(x, num_heads=2, key_dim=4, value_dim=6, kv_strides=2, name="i")
    model = randomize(keras.Model(image, x))
    model.save(tmp_path / "m.keras")
    x = images((32, 32, 3))
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_padding_puts_the_kernel_where_its_source_puts_it(size, kernel_size, padding):
    """A kernel of one tap in the middle reads pixels 0, 2, 4, … or, for SAME and even, 1, 3, …"""
    model = _model(
        models.conv_bn,
        1,
        size,
        filters=1,
        kernel_size=kernel_size,
        strides=2,
        conventions=models.Conventions(padding=padding, batch_norm_epsilon=1e-12),
    )
    kernel = np.zeros((kernel_size, kernel_size, 1, 1), "float32")
    kernel[kernel_size // 2, kernel_size // 2] = 1
    conv = next(x for x in model.layers if isinstance(x, keras.layers.Conv2D))
    conv.set_weights([kernel])
    x = np.arange(1, size * size + 1, dtype="float32").reshape(1, size, size, 1)
    first = 1 if padding == "same" and size % 2 == 0 else 0
    np.testing.assert_allclose(model(x), x[:, first::2, first::2], rtol=1e-5)


@pytest.mark.parametrize("kv_strides", [1, 2])
def test_mobile_mqa_is_multi_query_attention(images, randomize, kv_strides):
    heads, key_dim, value_dim, channels, size = 3, 4, 5, 8, 6
    model = randomize(
        _model(
            models.mobile_mqa,
            channels,
            size,
            num_heads=heads,
            key_dim=key_dim,
            value_dim=value_dim,
            kv_strides=kv_strides,
            layer_scale=1.0,
        )
    )
    x = images((size, size, channels))

    def run(layer, value):
        return np.array(model.get_layer(f"attention_{layer}")(value))

    normal = run("norm", x)
    key = value = normal
    if kv_strides > 1:
        key = run("key_downsample_bn", run("key_downsample", normal))
        value = run("value_downsample_bn", run("value_downsample", normal))
    query = run("query", normal).reshape(2, -1, heads, key_dim)
    key = run("key", key).reshape(2, -1, key_dim)
    value = run("value", value).reshape(2, -1, value_dim)
    assert key.shape[1] == (size // kv_strides) ** 2
    scores = np.einsum("bnhk,bmk->bnhm", query, key) / np.sqrt(key_dim)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum("bnhm,bmv->bnhv", weights, value).reshape(2, size, size, -1)
    gamma = model.get_layer("attention_layer_scale").gamma.numpy()
    np.testing.assert_allclose(model(x), x + gamma * run("output", mixed), rtol=1e-4, atol=1e-4)


def test_squeeze_excite_gates_by_the_means(images, randomize):
    model = randomize(_model(models.squeeze_excite, 32, name="block"))
    x = images((8, 8, 32))
    _, reduce, _, expand, *_ = model.layers[1:]
    w1, b1 = (w.squeeze() for w in reduce.get_weights())
    w2, b2 = (w.squeeze() for w in expand.get_weights())
    assert w1.shape == (32, 8)
    gate = np.maximum(x.mean((1, 2)) @ w1 + b1, 0) @ w2 + b2
    gate = np.clip(gate + 3, 0, 6) / 6
    np.testing.assert_allclose(model(x), x * gate[:, None, None], rtol=1e-5, atol=1e-6)


def test_layer_scale():
    layer = models.LayerScale(0.25)
    x = np.ones((1, 2, 2, 3), "float32")
    np.testing.assert_array_equal(layer(x), x / 4)
    assert layer.gamma.shape == (3,) and len(layer.trainable_weights) == 1
    layer.gamma.assign([1, 2, 3])
    np.testing.assert_array_equal(layer(x)[0, 0, 0], [1, 2, 3])
    assert models.LayerScale.from_config(layer.get_config()).initial_value == 0.25


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    layer = models.StochasticDepth(0.25, seed=3)
    x = np.full((2000, 2, 2, 3), 3.0, "float32")
    assert layer(x, training=False) is not None
    np.testing.assert_array_equal(layer(x, training=False), x)
    y = layer(x, training=True).numpy()
    examples = y.reshape(2000, -1)
    assert (examples == examples[:, :1]).all()  # an example is dropped as a whole
    assert set(np.unique(examples)) == {np.float32(0), np.float32(4)}
    assert abs((examples[:, 0] == 0).mean() - 0.25) < 0.04
    assert not np.array_equal(y, layer(x, training=True))
    assert not layer.trainable_weights and not layer.weights
    assert models.StochasticDepth.from_config(layer.get_config()).rate == 0.25
    with pytest.raises(ValueError, match="rate must be"):
        models.StochasticDepth(1.0)
