"""Calibration methods on the ImageNet MobileNetV2: accuracy, agreement with float, noise, time.

    python benchmarks/calibration.py

Calibrates on 64 of the 500 sample images in ../shared (or on none) and measures on the other 436,
in Keras' inference, at 8-bit activations (integers, as on the device) and at 4 bits
(convolutions' inputs quantized, float between the layers). Writes results/calibration.json.
"""

from __future__ import annotations

import argparse
import glob
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import common
import keras
import numpy as np
from imagenet import CALIBRATION_IMAGES, batches, load, top1

import mobilequant as mq

RECIPES = ("w8a8", "w8a4")
METHODS = (
    {"method": "minmax"},
    {"method": "moving_average"},
    {"method": "percentile", "percentile": 99.99},
    {"method": "percentile", "percentile": 99.9},
    {"method": "mse"},
    {"method": "data_free"},
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=436, help="images to measure on")
    arguments = parser.parse_args()
    print("Twelve calibrations and as many passes over the images: about ten minutes.")
    keras.utils.set_random_seed(arguments.seed)
    images, labels = load()
    seen = images[:CALIBRATION_IMAGES]
    images = images[CALIBRATION_IMAGES:][: arguments.images]
    labels = labels[CALIBRATION_IMAGES:][: arguments.images]
    model = mq.models.MobileNetV2(
        weights=glob.glob(f"{common.SHARED}/reference/imagenet/*.weights.h5")[0]
    )
    model.compile(jit_compile=False)
    expected = infer(model, images)
    results = {"images": len(images), "float_top1": top1(expected, labels), "recipes": {}}
    for recipe in RECIPES:
        qmodel = mq.quantize(model, recipe)
        qmodel.compile(jit_compile=False)
        found = results["recipes"][recipe] = []
        for options in METHODS:
            data = () if options["method"] == "data_free" else (seen,)
            begun = time.perf_counter()
            mq.calibrate(qmodel, *data, batch_size=32, verbose=0, **options)
            seconds = time.perf_counter() - begun
            scores = infer(qmodel, images)
            noise = np.square(scores - expected).sum() / np.square(expected).sum()
            found.append(
                {
                    **options,
                    "top1": top1(scores, labels),
                    "agreement": float(np.mean(scores.argmax(-1) == expected.argmax(-1))),
                    "snr_db": float(-10 * np.log10(noise)),
                    "seconds": seconds,
                }
            )
            print(recipe, found[-1], flush=True)
    common.write("calibration", results, **vars(arguments))


def infer(model, images):
    """Probabilities."""
    return np.concatenate([model.predict_on_batch(batch) for batch in batches(images)])


if __name__ == "__main__":
    main()
