"""The same computations on whatever backend Keras has: schemes, activations, a training step.

Keras takes its backend once a process. The tests call `compute` in their own, on TensorFlow, and
run this file as a script in another one, with KERAS_BACKEND=jax:

    python backend_cases.py inputs.npz outputs.npz
"""

from __future__ import annotations

import sys

import keras
import numpy as np
from keras import ops

import mobilequant as mq
from mobilequant.layers import FoldedLayer
from mobilequant.layers.activation_quantizer import FROZEN, ActivationQuantizer
from mobilequant.layers.weight_quantizer import WeightQuantizer
from mobilequant.quantize.state import quantized_layers
from mobilequant.quantizers import Scheme
from mobilequant.training import FreezeAt, QuantizeFrom

WEIGHTS = {
    "1 denoise": Scheme(bits=1),
    "1 std clip": Scheme(bits=1, range="std", clip_gradient=True, granularity="tensor"),
    "1 block": Scheme(bits=1, granularity="block", block_size=64),
    "ternary": Scheme(bits="ternary"),
    "ternary 2:4 lsq": Scheme(bits="ternary", estimator="lsq", sparsity="2:4"),
    "ternary 50% std": Scheme(bits="ternary", range="std", sparsity=0.5),
    "2 denoise": Scheme(bits=2),
    "2 percentile": Scheme(bits=2, range="percentile", range_width=0.95),
    "2 ste clip": Scheme(bits=2, estimator="ste", range="std", clip_gradient=True),
    "2 lsq": Scheme(bits=2, estimator="lsq"),
    "2 affine block": Scheme(bits=2, grid="affine", granularity="block", block_size=50),
    "4 denoise": Scheme(bits=4),
    "4 no range gradient": Scheme(bits=4, range_gradient=False),
    "4 2:4": Scheme(bits=4, sparsity="2:4"),
    "4 1:3 block": Scheme(bits=4, sparsity="1:3", granularity="block"),
    "4 affine": Scheme(bits=4, grid="affine"),
    "4 affine std clip": Scheme(bits=4, grid="affine", range="std", clip_gradient=True),
    "4 affine lsq": Scheme(bits=4, grid="affine", estimator="lsq", granularity="tensor"),
    "4 learned": Scheme(bits=4, range="learned"),
    "4 learned affine": Scheme(bits=4, range="learned", grid="affine"),
    "8 denoise": Scheme(bits=8),
    "8 ste": Scheme(bits=8, estimator="ste"),
    "8 tensor": Scheme(bits=8, granularity="tensor"),
    "8 affine percentile": Scheme(bits=8, grid="affine", range="percentile"),
    "8 90%": Scheme(bits=8, sparsity=0.9),
    "32 2:4": Scheme(bits=32, sparsity="2:4"),
}

_TENSOR = {"granularity": "tensor"}
_AFFINE = {"grid": "affine", "granularity": "tensor"}
ACTIVATIONS = {
    "8": Scheme(bits=8, range_gradient=False, **_AFFINE),
    "8 ste": Scheme(bits=8, estimator="ste", **_AFFINE),
    "8 moving": Scheme(bits=8, range="moving", **_AFFINE),
    "8 percentile": Scheme(bits=8, range="percentile", **_AFFINE),
    "8 lsq": Scheme(bits=8, estimator="lsq", **_AFFINE),
    "8 channel": Scheme(bits=8, grid="affine", granularity="channel"),
    "4 std": Scheme(bits=4, range="std", **_AFFINE),
    "4 moving clip": Scheme(bits=4, range="moving", clip_gradient=True, **_AFFINE),
    "4 learned": Scheme(bits=4, range="learned", **_AFFINE),
    "2 lsq": Scheme(bits=2, estimator="lsq", **_AFFINE),
    "2 linear": Scheme(bits=2, range="std", clip_gradient=True, **_TENSOR),
    "ternary": Scheme(bits="ternary", range="percentile", **_TENSOR),
    "1 ste": Scheme(bits=1, estimator="ste", range="std", clip_gradient=True, **_TENSOR),
    "1 channel": Scheme(bits=1, grid="affine", granularity="channel", range="std"),
}

#: Name of a model: recipe, estimator, phase, whether it goes through `fit` as well.
MODELS = {
    "float": ("w8a8", None, "float", False),
    "w8a8": ("w8a8", None, "quantized", True),
    "w4a4 lsq": ("w4a4", "lsq", "quantized", True),
    "w1a1": ("w1a1", None, "quantized", False),
}


def draw_inputs() -> dict[str, np.ndarray]:
    """Everything random, so that both backends see the same."""
    random = np.random.default_rng(7)
    keras.utils.set_random_seed(7)
    normal = {
        "kernel": (3, 3, 13, 24),
        "kernel_upstream": (3, 3, 13, 24),
        "activations_0": (6, 7, 7, 12),
        "activations_1": (6, 7, 7, 12),
        "activations_upstream": (6, 7, 7, 12),
        "targets": (16, 5),
    }
    inputs = {name: random.normal(size=shape).astype("float32") for name, shape in normal.items()}
    # On the grid of 8 bits already: no value lies where a last bit decides.
    inputs["images"] = (random.integers(0, 256, size=(16, 8, 8, 3)) / 255).astype("float32")
    for index, value in enumerate(float_model().get_weights()):
        inputs[f"weights_{index}"] = value
    qmodel = mq.calibrate(quantized_model(inputs, "w8a8"), inputs["images"], verbose=0)
    for index, value in enumerate(qmodel.get_weights()):
        inputs[f"calibrated_{index}"] = value
    return inputs


def compute(inputs) -> dict[str, np.ndarray]:
    """Outputs and gradients of every case, by name."""
    results = {}
    for name, scheme in WEIGHTS.items():
        _note(results, f"weights/{name}", _weights(scheme, inputs))
    for name, scheme in ACTIVATIONS.items():
        _note(results, f"activations/{name}", _activations(scheme, inputs))
    for name, case in MODELS.items():
        _note(results, f"model/{name}", _training(*case, inputs))
    results["phases"] = _phases(inputs)
    _note(results, "inference", [_inference(inputs)])
    _note(results, "reconstruction", _reconstruction(inputs))
    return results


def float_model():
    """Every kind of layer that is quantized, small."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(momentum=0.9)(x))
    y = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(y))
    y = keras.layers.Conv2D(8, 1, use_bias=False, name="project")(y)
    y = keras.layers.BatchNormalization(momentum=0.9)(y)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, y]))
    return keras.Model(inputs, keras.layers.Dense(5, name="head")(x))


def quantized_model(inputs, recipe, estimator=None):
    """That model, quantized, with the weights of `inputs`."""
    model = float_model()
    model.set_weights(_numbered(inputs, "weights"))
    return mq.quantize(model, recipe, estimator=estimator)


def with_gradients(function):
    """`function(arguments, constants)` and the gradients of its first output by `arguments`.

    Returns:
        A function of the upstream gradient, a list of arguments and a list of constants, to a
        list: outputs, then gradients.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def outputs_and_gradients(upstream, arguments, constants):
            arguments = [tf.convert_to_tensor(a) for a in arguments]
            with tf.GradientTape() as tape:
                tape.watch(arguments)
                first, *rest = function(arguments, constants)
            return [first, *rest, *tape.gradient(first, arguments, upstream)]

        return outputs_and_gradients
    import jax

    @jax.jit  # As `fit` does; step by step it would also take several times as long.
    def outputs_and_gradients(upstream, arguments, constants):
        def of_first(arguments):
            first, *rest = function(arguments, constants)
            return first, rest

        first, backward, rest = jax.vjp(of_first, arguments, has_aux=True)
        return [first, *rest, *backward(upstream)[0]]

    return outputs_and_gradients


def _weights(scheme, inputs):
    quantizer = WeightQuantizer(scheme)
    quantizer.build(inputs["kernel"])

    state = [v.value for v in quantizer.non_trainable_variables]

    def function(arguments, state):
        kernel, *learned = arguments
        return quantizer.stateless_call(learned, state, kernel, True)[:1]

    arguments = [inputs["kernel"], *(v.value for v in quantizer.trainable_variables)]
    return with_gradients(function)(inputs["kernel_upstream"], arguments, state)


def _activations(scheme, inputs):
    """Two batches, one frozen, one in inference."""
    batches = [ops.convert_to_tensor(inputs[f"activations_{i}"]) for i in range(2)]
    quantizer = ActivationQuantizer(scheme)
    quantizer.build(batches[0].shape)
    if scheme.range == "learned":
        quantizer.observe(batches[0], "minmax")
    learned = [v.value for v in quantizer.trainable_variables]
    state = [v.value for v in quantizer.non_trainable_variables]
    phase = [v.name for v in quantizer.non_trainable_variables].index("phase")

    def function(arguments, state):
        x, *learned = arguments
        y, moved = quantizer.stateless_call(learned, state, x)
        return y, *moved

    run, results = with_gradients(function), []
    for batch in batches:
        new = run(inputs["activations_upstream"], [batch, *learned], state)
        state = new[1 : 1 + len(state)]
        results += [np.array(ops.convert_to_numpy(value)) for value in new]
    state[phase] = ops.convert_to_tensor(FROZEN, "int32")
    results += run(inputs["activations_upstream"], [batches[0], *learned], state)
    for variable, value in zip(quantizer.non_trainable_variables, state, strict=True):
        variable.assign(value)
    return [*results, quantizer.infer(batches[1])]


def _training(recipe, estimator, phase, fits, inputs):
    """Loss and gradients of all images; then the model after two steps of `fit`."""
    qmodel = quantized_model(inputs, recipe, estimator)
    if estimator == "lsq":
        mq.calibrate(qmodel, inputs["images"], verbose=0)
    mq.set_phase(qmodel, phase)
    x, y = inputs["images"], inputs["targets"]

    def loss(weights, state):
        outputs, moved = qmodel.stateless_call(weights, state, x, training=True)
        return ops.mean(ops.square(outputs - y)), outputs, *moved

    variables = (qmodel.trainable_variables, qmodel.non_trainable_variables)
    values = with_gradients(loss)(1.0, *([v.value for v in part] for part in variables))
    # As arrays of their own at once: `fit` on JAX reuses the memory of the variables.
    results = {"gradients": [np.array(ops.convert_to_numpy(value)) for value in values]}
    if not fits:
        return results
    qmodel.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=keras.backend.backend() == "jax")
    history = qmodel.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0).history
    results["fit"] = [np.asarray(history["loss"]), *qmodel.get_weights()]
    return results


def _inference(inputs):
    """Outputs of a calibrated model, computed on integers."""
    qmodel = quantized_model(inputs, "w8a8")
    qmodel.set_weights(_numbered(inputs, "calibrated"))
    qmodel.compile(jit_compile=keras.backend.backend() == "jax")
    return qmodel.predict(inputs["images"], verbose=0)


def _reconstruction(inputs):
    """Kernels that have learned how to round."""
    qmodel = quantized_model(inputs, mq.Recipe(weights=Scheme(bits=3)))
    mq.reconstruct(qmodel, inputs["images"], steps=20, learning_rate=0.1, verbose=0)
    weighted = [layer for layer in quantized_layers(qmodel) if isinstance(layer, FoldedLayer)]
    return [layer.flat_kernel() for layer in weighted]


class _Phases(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        first = quantized_layers(self.model)[0].output_quantizer
        self.seen.append(int(ops.convert_to_numpy(first.phase)))


def _phases(inputs):
    """The phase at the end of every batch of a `fit` that switches in the middle of an epoch."""
    qmodel = quantized_model(inputs, "w8a8")
    qmodel.compile("sgd", "mse", jit_compile=keras.backend.backend() == "jax")
    watch = _Phases()
    qmodel.fit(
        inputs["images"],
        inputs["targets"],
        batch_size=4,
        epochs=2,
        verbose=0,
        callbacks=[QuantizeFrom(step=2), FreezeAt(-1), watch],
    )
    return np.array(watch.seen)


def _numbered(inputs, name):
    count = sum(key.startswith(f"{name}_") for key in inputs)
    return [inputs[f"{name}_{index}"] for index in range(count)]


def _note(results, prefix, values):
    if isinstance(values, dict):
        for name, part in values.items():
            _note(results, f"{prefix}/{name}", part)
        return
    for index, value in enumerate(values):
        results[f"{prefix}/{index}"] = np.array(ops.convert_to_numpy(value))


if __name__ == "__main__":
    np.savez(sys.argv[2], **compute(dict(np.load(sys.argv[1]))))
