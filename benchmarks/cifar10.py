"""CIFAR-10: a MobileNetV2 trained in float, quantized, fine-tuned, converted; on the test split.

    python benchmarks/cifar10.py [--epochs 12] [--quantized-epochs 3]

Reads TFDS' cifar10 from ../shared/data. Says before it starts what it will do, resumes from the
float model if an earlier run wrote it with the same settings, and writes results/cifar10.json.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import common
import keras
import numpy as np

import mobilequant as mq
import tflite_tools
from mobilequant.data import load_classification
from mobilequant.training.fit import compile_classifier, cosine_schedule


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--quantized-epochs", type=int, default=3)
    parser.add_argument("--alpha", type=float, default=0.35)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--estimator", default="denoise")
    parser.add_argument("--limit", type=int, help="images of a split, for a quick trial")
    arguments = parser.parse_args()
    print(
        f"One run: {arguments.epochs} float epochs, {arguments.quantized_epochs} quantized ones, "
        "MobileNetV2 at 32×32; about 40 minutes on 2 cores."
    )
    keras.utils.set_random_seed(arguments.seed)
    data = load_classification(
        "cifar10",
        data_dir=common.SHARED / "data",
        image_size=32,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        limit=arguments.limit,
    )
    steps = data.sizes["train"] // arguments.batch_size
    model, float_seconds = train_float(arguments, data, steps)
    float_accuracy = accuracy(model.predict(data.test, verbose=0), data)
    print(f"float: {float_accuracy:.4f}")

    qmodel = mq.quantize(model, "w8a8", estimator=arguments.estimator)
    mq.calibrate(qmodel, data.train, steps=8)
    calibrated, _ = on_device(qmodel, data, "cifar10_ptq.tflite")
    compile_classifier(
        qmodel, learning_rate=cosine_schedule(3e-4, steps * arguments.quantized_epochs)
    )
    started = time.perf_counter()
    qmodel.fit(
        data.train,
        epochs=arguments.quantized_epochs,
        shuffle=False,
        verbose=2,
        callbacks=[mq.training.FreezeAt(-1)],
    )
    quantized_seconds = time.perf_counter() - started
    qmodel.save(common.WORK / "cifar10_quantized.keras")
    tuned, verification = on_device(qmodel, data, "cifar10.tflite")
    common.write(
        "cifar10",
        {
            "float_accuracy": float_accuracy,
            "calibrated_int8_accuracy": calibrated,
            "fine_tuned_int8_accuracy": tuned,
            "keras_quantized_accuracy": accuracy(predict(qmodel, data), data),
            "difference_in_points": 100 * (tuned - float_accuracy),
            "test_images": data.sizes["test"],
            "float_seconds": float_seconds,
            "quantized_seconds": quantized_seconds,
            "agreement": verification.to_dict(),
        },
        **vars(arguments),
    )


def train_float(arguments, data, steps):
    """The float model, and the seconds it took (of the run that trained it)."""
    common.WORK.mkdir(parents=True, exist_ok=True)
    key = f"{arguments.alpha}-{arguments.epochs}-{arguments.seed}-{arguments.limit}"
    path = common.WORK / f"cifar10_float-{key}.keras"
    clock = path.with_suffix(".seconds")
    if path.exists() and clock.exists():
        return keras.models.load_model(path), float(clock.read_text())
    model = mq.models.MobileNetV2(
        (32, 32, 3), data.num_classes, alpha=arguments.alpha, early_strides=(1, 2)
    )
    total = steps * arguments.epochs
    compile_classifier(model, learning_rate=cosine_schedule(4e-3, total, total // 20))
    started = time.perf_counter()
    model.fit(data.train, epochs=arguments.epochs, shuffle=False, verbose=2)
    seconds = time.perf_counter() - started
    model.save(path)
    clock.write_text(str(seconds))
    return model, seconds


def on_device(qmodel, data, name):
    """Accuracy of the file over the whole test split, and its agreement with Keras."""
    path = common.WORK / name
    print(tflite_tools.convert(qmodel, path))
    verification = tflite_tools.verify(qmodel, path, data.test)
    print(verification)
    return accuracy(common.file_scores(path, (batch for batch, _ in data.test)), data), verification


def predict(qmodel, data):
    return np.concatenate([np.asarray(qmodel(batch, training=False)) for batch, _ in data.test])


def accuracy(scores, data):
    labels = np.concatenate([np.asarray(label) for _, label in data.test])
    return float(np.mean(np.argmax(scores, -1) == labels))


if __name__ == "__main__":
    main()
