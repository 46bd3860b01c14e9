"""ImageNet MobileNetV2 for a phone in float, 8 and 4 bits: ours, Coral's, ai-edge-quantizer's.

    python benchmarks/deploy                  # all of it
    python benchmarks/deploy --limit 16 --steps 2 --runs 5 --output /tmp/deploy.json    # a trial
    python benchmarks/deploy --parts          # what 4 bits cost in each part alone, a minute
    python benchmarks/deploy --list           # what it would do, and for how long

One float network, the 500 sample images in ../shared: every second one, without its label, is for
ranges and for weights that learn from the float network, block by block; the others are what
accuracy is measured on. (The recipe w4a8* was chosen while these were the odd ones; no label of an
even one had a part in it.) Every file is measured in the same run: bytes on disk and as zlib
compresses them, top-1, latency on one thread, the files in turn. Networks that were quantized are
kept in build/benchmarks/deploy for a run that was interrupted. Writes results/deploy.json.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

#: Seconds that a step of each of the blocks takes, and minutes for the rest.
STEP_SECONDS, OTHER_MINUTES = 0.6, 10


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="in which a block learns")
    parser.add_argument("--views", type=int, default=5, help="of each image, to learn from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", choices=("even", "odd"), default="even", help="these images")
    parser.add_argument("--limit", type=int, default=500, help="images in all")
    parser.add_argument("--runs", type=int, default=100, help="timed runs of each file")
    parser.add_argument("--parts", action="store_true", help="only results/deploy_parts.json")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--output", type=pathlib.Path, help="instead of results/deploy.json")
    arguments = parser.parse_args()

    from deploy import files, images, parts

    if arguments.parts:
        parts.measure(images.halves(arguments.limit, arguments.measure)[0])
        return 0
    minutes = OTHER_MINUTES + arguments.steps * STEP_SECONDS / 60
    print(
        f"{arguments.steps} steps a block, {arguments.limit} images, "
        f"{len(files.NAMES)} files; about {minutes:.0f} minutes on 2 idle cores.",
        flush=True,
    )
    if arguments.list:
        print("\n".join(files.NAMES))
        return 0
    return measure(arguments)


def measure(arguments):
    """Makes all files and measures them."""
    import common
    import keras
    from deploy import files, images

    import tflite_tools

    keras.utils.set_random_seed(arguments.seed)
    unlabelled, held_out, labels = images.halves(arguments.limit, arguments.measure)
    made = files.make(arguments, unlabelled)
    latencies = tflite_tools.benchmark(*made.values(), runs=arguments.runs, warmup=10).files
    results = {}
    for (name, path), latency in zip(made.items(), latencies, strict=True):
        data = path.read_bytes()
        # Coral's file has 1001 classes, background first.
        background = int(name == files.CORAL)
        scores = common.file_scores(path, images.batches(held_out))
        results[name] = {
            "bytes": len(data),
            "zipped": len(zlib.compress(data, 9)),
            "top1": float((scores.argmax(-1) == labels + background).mean()),
            "median_ms": latency.median,
            "low_ms": latency.low,
            "high_ms": latency.high,
            "operators": operators(path),
        }
        print(f"{name}: {results[name]}", flush=True)
    settings = {
        key: value
        for key, value in vars(arguments).items()
        if key not in ("list", "output", "parts")
    }
    settings |= {
        "learned_on": len(unlabelled),
        "calibrated_on": min(files.CALIBRATION, len(unlabelled)),
        "measured_on": len(held_out),
    }
    output = arguments.output or common.RESULTS / "deploy.json"
    theirs = {"ai-edge-quantizer": files.their_version()}
    common.write_document(output, "deploy", results, settings, **theirs)
    print(f"wrote {output}")
    return 0


def operators(path) -> dict[str, int]:
    """How many operators of each kind a file has."""
    import tflite_tools

    found = {}
    for (name, _), count in tflite_tools.inspect(path).operators.items():
        found[name] = found.get(name, 0) + count
    return dict(sorted(found.items()))


if __name__ == "__main__":
    sys.exit(main())
