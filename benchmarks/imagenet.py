"""ImageNet MobileNetV2 from float weights to a verified int8 file, beside Coral's own file.

    python benchmarks/imagenet.py

Calibrates on 64 of the 500 sample images in ../shared and measures on the other 436: accuracy,
agreement between Keras and LiteRT (default kernels and built-in ones), the same network
fake-quantized in float, file size, and latency of both files in turn. Then the same agreement
for a model fine-tuned with `fit` for a few steps. Writes results/imagenet.json.
"""

from __future__ import annotations

import argparse
import glob
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import common
import keras
import numpy as np
from fake_quantized import FakeQuantized

import mobilequant as mq
import tflite_tools
from mobilequant.data import load_classification
from mobilequant.quantize import infer_tensors

CALIBRATION_IMAGES = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8, help="steps of fine-tuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=436, help="images to measure on")
    arguments = parser.parse_args()
    print("One calibration, two conversions, five passes over the images: about 15 minutes.")
    keras.utils.set_random_seed(arguments.seed)
    images, labels = load()
    seen, seen_labels = images[:CALIBRATION_IMAGES], labels[:CALIBRATION_IMAGES]
    images = images[CALIBRATION_IMAGES:][: arguments.images]
    labels = labels[CALIBRATION_IMAGES:][: arguments.images]

    model = mq.models.MobileNetV2(
        weights=glob.glob(f"{common.SHARED}/reference/imagenet/*.weights.h5")[0]
    )
    coral = glob.glob(f"{common.SHARED}/reference/imagenet/*_ptq.tflite")[0]
    qmodel = mq.calibrate(mq.quantize(model, "w8a8"), seen, batch_size=16)
    common.WORK.mkdir(parents=True, exist_ok=True)
    path = common.WORK / "imagenet.tflite"
    print(tflite_tools.convert(qmodel, path))
    results = {
        "images": len(images),
        "top1": {
            "float": top1(in_batches(model, images), labels),
            "int8_file": top1(common.file_scores(path, batches(images)), labels),
            # 1001 labels, background first.
            "coral_file": top1(common.file_scores(coral, batches(images)), labels + 1),
        },
        "bytes": {"int8_file": os.path.getsize(path), "coral_file": os.path.getsize(coral)},
        "operators": {
            name: count for (name, _), count in tflite_tools.inspect(path).operators.items()
        },
    }
    print(results)
    results["agreement"] = agreement(qmodel, path, images)
    results["latency"] = tflite_tools.benchmark(path, coral, runs=200, warmup=20).to_dict()
    results["latency_ratio"] = latency_ratio(results["latency"])

    qmodel.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9),
        "sparse_categorical_crossentropy",
        jit_compile=False,
    )
    qmodel.fit(seen, seen_labels, batch_size=CALIBRATION_IMAGES * 2 // arguments.steps, epochs=2)
    tuned = common.WORK / "imagenet_fit.tflite"
    print(tflite_tools.convert(qmodel, tuned))
    verification = tflite_tools.verify(qmodel, tuned, images)
    print(verification)
    results["agreement_after_fit"] = verification.to_dict()
    common.write("imagenet", results, **vars(arguments))


def load():
    data = load_classification(
        "imagenet_sample", data_dir=common.SHARED / "data", image_size=224, batch_size=50
    )
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in data.test]
    return (np.concatenate(part) for part in zip(*pairs, strict=True))


def agreement(qmodel, path, images):
    """Keras' inference against the file, its built-in kernels, and against float simulation."""
    found = {}
    for kernels in ("default", "builtin"):
        verification = tflite_tools.verify(qmodel, path, images, kernels=kernels)
        print(verification)
        found[kernels] = verification.to_dict()
    twin = FakeQuantized(mq.freeze(qmodel))
    name = qmodel.layers[-2].name
    fake, exact = [], []
    for batch in batches(images):
        fake.append(twin(batch)[name])
        exact.append(infer_tensors(qmodel, batch, [name])[name])
    fake, exact = np.concatenate(fake), np.concatenate(exact)
    steps = np.abs(fake.astype(int) - exact.astype(int))
    found["float_fake_quantization"] = {
        "equal": float(np.mean(steps == 0)),
        "within_one_step": float(np.mean(steps <= 1)),
        "max_steps": int(steps.max()),
        "top1_agreement": float(np.mean(fake.argmax(-1) == exact.argmax(-1))),
    }
    print(found["float_fake_quantization"])
    return found


def batches(images, size=32):
    return (images[i : i + size] for i in range(0, len(images), size))


def in_batches(model, images):
    return np.concatenate([np.asarray(model(batch, training=False)) for batch in batches(images)])


def top1(scores, labels):
    return float(np.mean(scores.argmax(-1) == labels))


def latency_ratio(latency):
    ours, coral = (entry["median"] for entry in latency["files"])
    return ours / coral


if __name__ == "__main__":
    main()
