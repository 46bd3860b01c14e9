"""Small tf_keras networks, trained with TFMOT, and what TFMOT's own file computes."""

import os

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits

if not os.environ.get("CI"):
    # The test extra has both.
    pytest.importorskip("tf_keras", reason="needs the extra 'tfmot'")

from mobilequant.tfmot.loading import libraries

tf_keras, tfmot = libraries()
layers = tf_keras.layers
quantize_model = tfmot.quantization.keras.quantize_model

CLASSES = 10
_DECAY = 0.999


def sequential():
    return tf_keras.Sequential(
        [
            layers.InputLayer((16, 16, 3)),
            layers.Conv2D(8, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(16, activation="relu"),
            layers.Dense(CLASSES),
        ]
    )


def normalized(x, filters, kernel=1, highest=None, strides=1):
    """Convolution (depthwise without filters), batch normalization, ReLU."""
    shared = {"strides": strides, "padding": "same", "use_bias": False}
    if filters:
        x = layers.Conv2D(filters, kernel, **shared)(x)
    else:
        x = layers.DepthwiseConv2D(kernel, **shared)(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    return layers.ReLU(highest)(x)


def residual(blocks=2, activation=None):
    """Inverted bottlenecks, as MobileNetV2 has them, and a separable convolution."""
    inputs = tf_keras.Input((24, 24, 3))
    x = normalized(inputs, 8, 3, 6.0, strides=2)
    for _ in range(blocks):
        y = normalized(x, 24, 1, 6.0)
        y = normalized(y, 0, 3, 6.0)
        y = layers.Conv2D(8, 1, use_bias=False)(y)
        y = layers.BatchNormalization(momentum=0.8)(y)
        x = layers.Add()([x, y])
    x = layers.SeparableConv2D(16, 3, padding="same")(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(inputs, layers.Dense(CLASSES, activation=activation)(x))


def branches():
    """Concatenation of tensors with and without a range of their own, average pooling."""
    inputs = tf_keras.Input((16, 16, 3))
    x = normalized(inputs, 8, 3)
    a = layers.Conv2D(8, 1, activation="relu")(x)
    b = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    b = layers.Conv2D(8, 1)(b)
    b = layers.BatchNormalization(momentum=0.8)(b)
    b = layers.Activation("relu")(b)
    c = layers.MaxPooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([a, b, c])
    x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(16, 3)(x)
    x = layers.LeakyReLU(0.1)(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.DepthwiseConv2D(3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Reshape((4, 4))(x)
    x = layers.Flatten()(x)
    return tf_keras.Model(inputs, layers.Dense(CLASSES)(x))


def joined():
    """Concatenations of all kinds of tensors and of one another, upsampling, a sigmoid."""
    inputs = tf_keras.Input((8, 8, 3))

    def convolve(x, **arguments):
        return layers.Conv2D(8, 1, **arguments)(x)

    x = normalized(inputs, 8, 3)
    parts = [
        layers.MaxPooling2D(3, strides=1, padding="same")(normalized(x, 8)),
        layers.Add()([x, convolve(x)]),
        convolve(layers.AveragePooling2D(3, strides=1, padding="same")(normalized(x, 8))),
        layers.Concatenate()([convolve(x), convolve(x, activation="relu")]),
        layers.LeakyReLU(0.2)(convolve(x)),
        x,
    ]
    y = normalized(layers.Concatenate()(parts), 8, 3)
    z = layers.BatchNormalization(momentum=0.8)(convolve(y))
    x = layers.Concatenate()([y, normalized(y, 8), z])
    x = normalized(layers.UpSampling2D(2, interpolation="nearest")(x), 8)
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.GlobalAveragePooling2D()(convolve(x, activation="sigmoid"))
    return tf_keras.Model(inputs, layers.Dense(CLASSES)(x))


def dense():
    """Dense layers with batch normalization, which TFMOT's file computes in float."""
    inputs = tf_keras.Input((16,))
    x = layers.Dense(32)(inputs)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.ReLU()(x)
    return tf_keras.Model(inputs, layers.Dense(CLASSES)(x))


def trained(model, steps=30, **options):
    """The model quantized by TFMOT and trained, with ranges as after thousands of steps."""
    tf_keras.utils.set_random_seed(0)
    qmodel = quantize_model(model, **options)
    fit(qmodel, steps)
    settle(qmodel, steps)
    return qmodel


def fit(qmodel, steps):
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    qmodel.compile("adam", loss, jit_compile=False)
    x = random_images(qmodel, 8 * steps, seed=0)
    y = np.random.default_rng(0).integers(0, CLASSES, len(x))
    qmodel.fit(x, y, batch_size=8, verbose=0)


def settle(qmodel, steps):
    """Takes what TFMOT's moving averages started from (−6 and 6) out of them."""
    left = _DECAY**steps
    for weight in qmodel.weights:
        name = weight.name.split("/")[-1]
        if name.startswith(("post_activation_m", "pre_activation_m", "output_m")):
            start = 6.0 if "_max" in name else -6.0
            weight.assign((weight - start * left) / (1 - left))


def tfmot_file(qmodel) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(qmodel)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def random_images(model, count, seed):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def scanned_digits(model, count):
    """Scanned digits in the model's input size, from −1 to 1."""
    *size, channels = model.input_shape[1:]
    images = load_digits().images[:count, ..., None] / 8.0 - 1.0
    return np.repeat(tf.image.resize(images, size).numpy(), channels, -1)


def run(data, images):
    """Outputs of a file of one output, image by image, and the grid of that output."""
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (source,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for image in images:
        image = image[None]
        if source["dtype"] == np.int8:
            scale, zero_point = source["quantization"]
            steps = np.rint(image * np.float32(1 / scale)) + zero_point
            image = np.clip(steps, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        results.append(interpreter.get_tensor(output["index"])[0])
    return np.stack(results), output["quantization"]


def grids(data) -> set:
    """(scale, zero point) of the int8 tensors of one scale, float32 to the bit."""
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    found = set()
    for tensor in interpreter.get_tensor_details():
        numbers = tensor["quantization_parameters"]
        if tensor["dtype"] == np.int8 and len(numbers["scales"]) == 1:
            found.add((float(numbers["scales"][0]), int(numbers["zero_points"][0])))
    return found
