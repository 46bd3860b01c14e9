"""What a quantized training step costs: float, `ste` and `denoise` at W8A8 and W1A1, and TFMOT's.

    python benchmarks/training_step.py [--tfmot-python /path/to/venv/bin/python]

MobileNetV2 96×96, batch 32, SGD, no XLA. "plain" is `denoise` with the three stages
differentiated by TensorFlow instead of our custom gradients: what these are worth. All models take
turns in one run, a few steps at a time, so that what else the machine does hits all of them;
medians. TFMOT and tf_keras need an environment of their own (`pip install 'mobilequant[tfmot]'`);
without it that part is left out and said to be. Writes results/training_step.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SIZE, BATCH, CLASSES = 96, 32, 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=5, help="steps of a model's turn")
    parser.add_argument("--tfmot-python", help="Python of an environment with TFMOT")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments.worker)
    pythons = dict.fromkeys((name for name in STEPS if "tf" not in name), sys.executable)
    if arguments.tfmot_python:
        pythons |= dict.fromkeys(["tf_keras float", "tfmot"], arguments.tfmot_python)
    print(f"{len(pythons)} models, {arguments.rounds} rounds of {arguments.steps} steps.")
    workers = {name: start(name, python) for name, python in pythons.items()}
    times, first = {name: [] for name in workers}, {}
    for name, worker in workers.items():
        first[name] = ask(worker, 1)[0]
        ask(worker, 2)
        print(f"{name}: first step {first[name]:.1f} s (tracing)", flush=True)
    for round_number in range(arguments.rounds):
        for name, worker in workers.items():
            times[name] += ask(worker, arguments.steps)
        print(f"round {round_number + 1} of {arguments.rounds}", flush=True)
    memory = {name: stop(worker) for name, worker in workers.items()}

    import common

    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians["float"]
    common.write(
        "training_step",
        {
            name: {
                "median_s": medians[name],
                "ratio_to_float": medians[name] / base,
                "fastest_s": min(times[name]),
                "ratio_of_fastest_to_float": min(times[name]) / min(times["float"]),
                "first_step_s": first[name],
                "peak_memory_mib": memory[name],
            }
            for name in workers
        },
        model=f"MobileNetV2 {SIZE}x{SIZE} batch {BATCH}",
        tfmot="measured" if arguments.tfmot_python else "left out: no --tfmot-python",
        **{key: value for key, value in vars(arguments).items() if key != "tfmot_python"},
    )
    return None


def start(name, python):
    command = [python, os.path.abspath(__file__), "--worker", name]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def ask(worker, steps):
    worker.stdin.write(f"{steps}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise RuntimeError(f"worker ended: {' '.join(worker.args)}")
    return json.loads(answer)


def stop(worker):
    peak = ask(worker, 0)[0]
    worker.wait()
    return peak


def work(name):
    """Serves steps: reads a number, runs as many, prints their seconds; 0 prints peak memory."""
    step = STEPS[name]()
    for line in sys.stdin:
        count = int(line)
        if not count:
            print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
            break
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
        print(json.dumps(seconds), flush=True)


def keras_3(recipe=None, estimator=None, plain=False):
    import keras
    import numpy as np

    import mobilequant as mq

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((SIZE, SIZE, 3), weights=None, classes=CLASSES)
    if plain:
        differentiate_plainly()
    if recipe:
        model = mq.quantize(model, recipe, estimator=estimator)
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    return stepper(model, np)


def differentiate_plainly():
    """Puts the three stages, as they are written down, in the place of the custom gradients."""
    import tensorflow as tf

    from mobilequant.quantizers import affine, denoising
    from mobilequant.quantizers.integers import nearest_member, step_count

    def on_grid(scheme, sync):
        def quantize(x, start, stop, scale, mode):
            hat = tf.quantization.fake_quant_with_min_max_vars(x, start, stop)
            hat = x + tf.stop_gradient(hat - x)
            mean_x, mean_hat = tf.reduce_mean(x), tf.reduce_mean(hat)
            covariance = tf.reduce_mean((x - mean_x) * (hat - mean_hat))
            variance = tf.reduce_mean(tf.square(hat - mean_hat))
            slope = covariance / (variance + scheme.ridge * scale * scale)
            return slope * (hat - mean_hat) + mean_x

        return quantize

    def any_scheme(scheme, sync):
        steps = float(step_count(scheme))

        def mean(values):
            return tf.reduce_mean(values, 1, keepdims=True)

        def quantize(x, low, high, given_slope, given_offset, on, live, *masks):
            start = low if scheme.grid == "affine" else tf.zeros_like(low)
            scale = (high - start) / steps
            f = (x - start) / scale
            q = f + tf.stop_gradient(nearest_member(f, scheme) - f)
            if scheme.grid == "linear":
                slope = scale * mean(f * q) / (mean(q * q) + scheme.ridge)
                return slope * q, slope, start
            centred_f, centred_q = f - mean(f), q - mean(q)
            a = mean(centred_f * centred_q) / (mean(centred_q * centred_q) + scheme.ridge)
            y = scale * (a * centred_q + mean(f)) + start
            return y, scale * a, start + scale * (mean(f) - a * mean(q))

        return quantize

    affine._differentiable = on_grid
    denoising._differentiable = any_scheme


def tf_keras(quantized):
    import numpy as np
    import tf_keras as keras

    model = keras.applications.MobileNetV2((SIZE, SIZE, 3), weights=None, classes=CLASSES)
    if quantized:
        import tensorflow_model_optimization as tfmot

        model = tfmot.quantization.keras.quantize_model(model)
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    return stepper(model, np)


def stepper(model, np):
    """One training step through the model's own train function, input pipeline excluded."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (BATCH, SIZE, SIZE, 3)).astype("float32")
    y = random.integers(0, CLASSES, BATCH)
    data = iter(tf.data.Dataset.from_tensors((tf.constant(x), tf.constant(y))).repeat())
    if hasattr(model, "_symbolic_build"):
        model._symbolic_build(data_batch=(x, y))
    model.make_train_function()
    return lambda: model.train_function(data)


STEPS = {
    "float": keras_3,
    "ste w8a8": lambda: keras_3("w8a8", "ste"),
    "denoise w8a8": lambda: keras_3("w8a8", "denoise"),
    "plain w8a8": lambda: keras_3("w8a8", "denoise", plain=True),
    "ste w1a1": lambda: keras_3("w1a1", "ste"),
    "denoise w1a1": lambda: keras_3("w1a1", "denoise"),
    "plain w1a1": lambda: keras_3("w1a1", "denoise", plain=True),
    "tf_keras float": lambda: tf_keras(False),
    "tfmot": lambda: tf_keras(True),
}

if __name__ == "__main__":
    sys.exit(main())
