"""What each layer of the ImageNet MobileNetV2 costs at w4a8, calibrated only.

    python benchmarks/sensitivity.py

Calibrates on 64 of the 500 sample images in ../shared and compares with float on 32 others.
Writes results/sensitivity.json, of which docs/how-to/sensitivity.md shows the table.
"""

from __future__ import annotations

import argparse
import glob
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import common
import keras
from imagenet import CALIBRATION_IMAGES, load

import mobilequant as mq

#: Lines of the table.
WORST = 4


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="w4a8")
    parser.add_argument("--images", type=int, default=32, help="images to measure on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("A pass over the images for each layer: about five minutes.", flush=True)
    keras.utils.set_random_seed(arguments.seed)
    images, _ = load()
    model = mq.models.MobileNetV2(
        weights=glob.glob(f"{common.SHARED}/reference/imagenet/*.weights.h5")[0]
    )
    qmodel = mq.quantize(model, arguments.recipe)
    mq.calibrate(qmodel, images[:CALIBRATION_IMAGES], verbose=0)
    costs = mq.sensitivity(qmodel, images[CALIBRATION_IMAGES:][: arguments.images])
    table = costs.table(WORST)
    print(table)
    results = {
        "table": table,
        "snr_db": {layer.name: layer.snr for layer in costs.layers},
    }
    common.write("sensitivity", results, **vars(arguments))


if __name__ == "__main__":
    main()
