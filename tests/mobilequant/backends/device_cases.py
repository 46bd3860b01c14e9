"""`fit` on one device and on two, with the same batches; run as a script, see `test_devices.py`.

    python device_cases.py outputs.npz

On TensorFlow two logical CPU devices under `tf.distribute.MirroredStrategy`, on JAX two host
devices under `keras.distribution.DataParallel`. How many devices there are is decided before the
backend starts, so each run is a process.
"""

from __future__ import annotations

import contextlib
import os
import sys

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np
from keras import ops

import mobilequant as mq
from mobilequant.layers.activation_quantizer import ActivationQuantizer
from mobilequant.layers.normalization import batch_normalize
from mobilequant.quantizers import Scheme
from mobilequant.training import FreezeAt, QuantizeFrom

#: Models (on JAX the first two, for time). Name: recipe, estimator, callbacks.
MODELS = {
    "w8a8": ("w8a8", None, lambda: []),
    "phases": ("w2a4", None, lambda: [QuantizeFrom(step=1), FreezeAt(-1)]),
    "w4a4 lsq": ("w4a4", "lsq", lambda: []),
}
BATCH = 16

_AFFINE = {"grid": "affine", "granularity": "tensor"}
#: Activations that replicas quantize together.
ACTIVATIONS = {
    "8": Scheme(bits=8, range_gradient=False, **_AFFINE),
    "8 moving ste": Scheme(bits=8, range="moving", estimator="ste", **_AFFINE),
    "4": Scheme(bits=4, **_AFFINE),
    "4 std clip": Scheme(bits=4, range="std", clip_gradient=True, **_AFFINE),
    "2 linear std": Scheme(bits=2, range="std", granularity="tensor"),
    "1 channel": Scheme(bits=1, grid="affine", granularity="channel"),
}
#: How many images of eight each of two replicas holds.
SPLITS = {"even": (4, 4), "uneven": (5, 3), "empty": (8, 0)}


def float_model():
    """Convolutions with batch normalization over the whole batch."""

    def normalize(x):
        # Keras' JAX engine computes on the whole batch without being told.
        synchronized = keras.backend.backend() == "tensorflow"
        return keras.layers.BatchNormalization(momentum=0.9, synchronized=synchronized)(x)

    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = keras.layers.ReLU(6.0)(normalize(x))
    x = normalize(keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(5, name="head")(x))


def train(name, scope):
    """The losses and the variables by path, after two epochs of two steps; and the model."""
    random = np.random.default_rng(3)
    # On the grid of 8 bits already, as images are: no value lies where a last bit decides.
    images = (random.integers(0, 256, size=(2 * BATCH, 6, 6, 3)) / 255).astype("float32")
    targets = random.normal(size=(2 * BATCH, 5)).astype("float32")
    recipe, estimator, callbacks = MODELS[name]
    keras.backend.clear_session()  # The same names every time.
    keras.utils.set_random_seed(1)
    with scope():
        qmodel = mq.quantize(float_model(), recipe, estimator=estimator)
        if estimator == "lsq":
            mq.calibrate(qmodel, images[:BATCH], verbose=0)
        qmodel.compile(
            keras.optimizers.SGD(0.05), "mse", jit_compile=keras.backend.backend() == "jax"
        )
        history = qmodel.fit(
            images,
            targets,
            batch_size=BATCH,
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=callbacks(),
        ).history
    results = {v.path: ops.convert_to_numpy(v) for v in qmodel.weights}
    return {**results, "loss": np.array(history["loss"])}, qmodel


def on_tensorflow():
    """For every case: on one device, on two, and what each replica holds of every variable."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # One for all cases: several in a process take the same keys for their exchanges.
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    results = {}
    for name in MODELS:
        one, _ = train(name, contextlib.nullcontext)
        two, qmodel = train(name, strategy.scope)
        note(results, name, one=one, two=two, replicas=_mirrored(strategy, qmodel.weights))
    for name, scheme in ACTIVATIONS.items():
        _compare_parts(results, name, strategy, lambda s=scheme: _Quantize(s))
    for synchronized in (True, False):
        name = f"normalization {synchronized}"
        _compare_parts(results, name, strategy, lambda s=synchronized: _Normalize(s))
    return results


def on_jax():
    """For every model: on one device, on two, and what each device holds of every variable."""
    distribution = keras.distribution.DataParallel(devices=keras.distribution.list_devices())
    results = {}
    for name in list(MODELS)[:2]:
        one, _ = train(name, contextlib.nullcontext)
        two, qmodel = train(name, distribution.scope)
        replicas = {
            v.path: np.stack([np.asarray(part.data) for part in v.value.addressable_shards])
            for v in qmodel.weights
        }
        note(results, name, one=one, two=two, replicas=replicas)
    return results


class _Quantize:
    def __init__(self, scheme):
        self.layer = ActivationQuantizer(scheme)
        self.layer.build((None, 5, 5, 6))

    def __call__(self, x):
        return self.layer(x)


class _Normalize:
    def __init__(self, synchronized):
        self.layer = keras.layers.BatchNormalization(synchronized=synchronized)
        self.layer.build((None, 5, 5, 6))

    def __call__(self, x):
        return batch_normalize(x, self.layer, ops.convert_to_tensor(False))


def _compare_parts(results, name, strategy, make):
    """Outputs, gradients and state of a layer on a batch, and on the batch in two parts."""
    import tensorflow as tf

    random = np.random.default_rng(5)
    x, upstream = random.normal(0.3, 1.0, size=(2, 8, 5, 5, 6)).astype("float32")

    def run(layer, x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        variables = [v.value for v in layer.layer.trainable_variables]
        return y, *tape.gradient(y, [x, *variables], upstream)

    whole = make()
    outputs = run(whole, tf.constant(x), tf.constant(upstream))
    one = {str(i): value.numpy() for i, value in enumerate(outputs)}
    one |= {v.path.split("/")[-1]: ops.convert_to_numpy(v) for v in whole.layer.weights}
    for split, sizes in SPLITS.items():
        with strategy.scope():
            parts = make()
        cut = {id(values): np.split(values, [sizes[0]]) for values in (x, upstream)}

        def part(values, cut=cut):
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(cut[id(values)][context.replica_id_in_sync_group])
            )

        outputs = tf.function(lambda a, b, layer=parts: strategy.run(run, (layer, a, b)))(
            part(x), part(upstream)
        )
        outputs = [strategy.experimental_local_results(value) for value in outputs]
        # What belongs to elements side by side; what belongs to variables added up.
        two = {
            str(i): np.concatenate(values) if i < 2 else np.sum(values, axis=0)
            for i, values in enumerate(outputs)
        }
        two |= {v.path.split("/")[-1]: ops.convert_to_numpy(v) for v in parts.layer.weights}
        replicas = _mirrored(strategy, parts.layer.weights)
        replicas = {path.split("/")[-1]: value for path, value in replicas.items()}
        note(results, f"{name}, {split}", one=one, two=two, replicas=replicas)


def _mirrored(strategy, variables):
    return {
        v.path: np.stack([part.numpy() for part in strategy.experimental_local_results(v.value)])
        for v in variables
    }


def note(results, name, **kinds):
    for kind, values in kinds.items():
        for path, value in values.items():
            results[f"{name}|{kind}|{path}"] = value


if __name__ == "__main__":
    run = on_tensorflow if keras.backend.backend() == "tensorflow" else on_jax
    np.savez(sys.argv[1], **run())
