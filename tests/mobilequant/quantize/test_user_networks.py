"""Networks as users write them, through the whole: fit, quantize, fit, save, load, convert."""

import keras
import numpy as np
import pytest
from keras import layers

import mobilequant as mq
import tflite_tools


def through(model, x, y, loss, folder, **options):
    """What a user does from a trained model to a verified file; every integer must agree."""
    model.compile("adam", loss, jit_compile=False)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    qmodel = mq.calibrate(mq.quantize(model, **options), x, verbose=0)
    close = error(model, qmodel, x)
    qmodel.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=False)
    qmodel.fit(x, y, batch_size=16, verbose=0)
    qmodel.save(folder / "q.keras")
    qmodel = keras.models.load_model(folder / "q.keras")
    report = tflite_tools.convert(qmodel, folder / "m.tflite", samples=x[:8])
    result = tflite_tools.verify(qmodel, folder / "m.tflite", x, layers=True)
    assert result.first_difference is None, str(result)
    assert all(output.max_steps == 0 and output.span > 50 for output in result.outputs), str(result)
    return report, close


def error(model, qmodel, x):
    """Root of the mean squared error of calibrated outputs, in terms of their deviation."""
    wanted, found = (np.asarray(m(x, training=False)) for m in (model, qmodel))
    return np.sqrt(np.mean((wanted - found) ** 2)) / wanted.std()


@pytest.mark.slow  # its layers have tests of their own
def test_a_unet(tmp_path):
    """Segmentation with skip connections, transposed convolutions and logits at image size."""
    keras.utils.set_random_seed(0)

    def block(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.5)(x)
            x = layers.Activation("relu")(x)
        return x

    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 255)(image)
    skips = []
    for filters in (8, 16):
        x = block(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.1)(block(x, 32))
    for filters, skip in zip((16, 8), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(x)
        x = layers.concatenate([x, skip])
        x = block(x, filters)
    model = keras.Model(image, layers.Conv2D(3, 1)(x), name="unet")

    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (32, 8, 8, 3)).astype("float32")
    images = np.asarray(keras.ops.image.resize(coarse, (32, 32)))
    masks = images.argmax(-1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report, close = through(model, images, masks, loss, tmp_path)
    assert report.operators["TRANSPOSE_CONV"] == 2
    assert close < 0.1


@pytest.mark.slow  # test_layers_attention.py has a block of one
def test_a_small_vision_transformer(tmp_path):
    """Patches, a position embedding, a class token's place taken by pooling, pre-norm blocks."""
    keras.utils.set_random_seed(0)

    class PositionEmbedding(layers.Layer):
        """A learned vector for each place."""

        def build(self, shape):
            self.embedding = self.add_weight(shape=(1, *shape[1:]), initializer="random_normal")

        def call(self, x):
            return x + self.embedding

    @mq.register_rule(PositionEmbedding)
    class PositionEmbeddingRule(mq.Rule):
        def build(self, group, context):
            layer = group[0].layer
            context.require("ADD")
            value = keras.ops.convert_to_numpy(layer.embedding)[0]
            return [
                mq.layers.QuantizedConstantOperand(
                    "add", value, activations=context.recipe.outputs, name=layer.name
                )
            ]

    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(32, 8, strides=8, name="patches")(image)
    x = layers.Reshape((16, 32))(x)
    x = PositionEmbedding()(x)
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.MultiHeadAttention(num_heads=2, key_dim=16, dropout=0.1)(y, y)
        x = layers.Add()([x, y])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dense(64, activation="gelu")(y)
        y = layers.Dropout(0.1)(y)
        x = layers.Add()([x, layers.Dense(32)(y)])
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(image, layers.Dense(10)(x), name="vit")

    random = np.random.default_rng(0)
    labels = np.arange(64) % 10
    pictures = random.normal(size=(10, 32, 32, 3))[labels] + random.normal(size=(64, 32, 32, 3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report, close = through(model, pictures.astype("float32"), labels, loss, tmp_path)
    assert report.operators["SOFTMAX"] == 2 and report.operators["RSQRT"] == 5
    assert close < 0.15


@pytest.mark.parametrize("kind", ["Conv1D", "SeparableConv1D"])
def test_keyword_spotting_on_one_dimension(kind, tmp_path):
    """40 coefficients of 49 windows of sound, convolved over time."""
    keras.utils.set_random_seed(0)
    convolution = getattr(layers, kind)
    model = keras.Sequential(
        [
            keras.Input((49, 40)),
            convolution(32, 5, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(momentum=0.5),
            convolution(32, 3, dilation_rate=2, padding="causal", use_bias=False)
            if kind == "Conv1D"
            else convolution(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.5),
            layers.ReLU(max_value=6),
            layers.MaxPooling1D(2),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.3),
            layers.Dense(12),
        ]
    )
    random = np.random.default_rng(0)
    words = np.arange(96) % 12
    sounds = random.normal(size=(12, 49, 40))[words] + random.normal(size=(96, 49, 40))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    _, close = through(model, sounds.astype("float32"), words, loss, tmp_path)
    assert close < 0.1


def test_a_regression_from_an_image_and_numbers(tmp_path):
    """Two inputs of different ranges; the output is a number with a unit, not a class."""
    keras.utils.set_random_seed(0)
    image, state = keras.Input((24, 24, 1), name="image"), keras.Input((3,), name="state")
    x = image / 255.0
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    y = layers.Dense(16, activation="tanh")(state)
    x = layers.Concatenate()([x, y])
    model = keras.Model([image, state], layers.Dense(1, name="degrees")(x), name="steering")

    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (128, 24, 24, 1)).astype("float32")
    states = random.normal(size=(128, 3)).astype("float32")
    angles = 20 * states[:, :1] + images.mean((1, 2)) / 10
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    model.fit([images, states], angles, epochs=5, verbose=0)
    qmodel = mq.quantize(model)
    data = {"image": images, "state": states}
    mq.calibrate(qmodel, [data], verbose=0)
    qmodel.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    qmodel.fit([images, states], angles, verbose=0)
    few = {name: values[:8] for name, values in data.items()}
    tflite_tools.convert(qmodel, tmp_path / "m.tflite", samples=few)
    result = tflite_tools.verify(qmodel, tmp_path / "m.tflite", data, layers=True)
    assert result.first_difference is None and result.span > 50, str(result)
