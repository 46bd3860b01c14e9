"""Training at low precision: `ste`, `lsq` and `denoise` side by side on CIFAR-10.

    python benchmarks/lowbit                    # what is missing of tier 1: everything, two workers
    python benchmarks/lowbit comparison ridge   # some of its groups
    python benchmarks/lowbit --list             # what it would run, and for how long
    python benchmarks/lowbit --tier 2           # all images, more epochs, Keras on JAX on a GPU
    python benchmarks/lowbit --tiny             # a trial of the whole machinery in a few minutes

Every run starts from the same weights (of its seed) and sees the same images in the same order
under the same schedule. Each result is written as soon as it is there, so an interrupted run goes
on where it was: results/lowbit_tier1.json, plots beside it (`lowbit/report.py`).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

#: Images to train on (None: all 50,000), epochs, batch, peak learning rate, workers, seconds that
#: a run takes there.
TIERS = {
    "1": {
        "train_images": 25_000,
        "epochs": 3,
        "batch_size": 64,
        "learning_rate": 4e-3,
        "widths": (24, 48, 96),
        "blocks": 2,
        "workers": 2,
        "seconds": 100,
        "backend": "tensorflow",
    },
    "2": {
        "train_images": None,
        "epochs": 30,
        "batch_size": 128,
        "learning_rate": 4e-3,
        "widths": (64, 128, 256),
        "blocks": 3,
        "workers": 1,
        "seconds": 300,
        "backend": "jax",
    },
    "tiny": {
        "train_images": 512,
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": 4e-3,
        "widths": (8, 16),
        "blocks": 1,
        "workers": 1,
        "seconds": 15,
        "backend": "tensorflow",
    },
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", help="groups of runs; all by default")
    parser.add_argument("--tier", choices=("1", "2"), default="1")
    parser.add_argument("--tiny", action="store_true", help="a trial with 512 images")
    parser.add_argument("--list", action="store_true", help="say what would run, and stop")
    parser.add_argument("--seeds", type=int, default=3, help="of the comparison")
    parser.add_argument("--workers", type=int, help="processes, one thread each")
    parser.add_argument("--output", type=pathlib.Path, help="instead of results/lowbit_tierN.json")
    parser.add_argument("--backend", choices=("tensorflow", "jax"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    name = "tiny" if arguments.tiny else arguments.tier
    tier = dict(TIERS[name])
    for key in ("workers", "backend"):
        tier[key] = getattr(arguments, key) or tier[key]
    os.environ["KERAS_BACKEND"] = tier["backend"]
    if arguments.worker:
        return work(tier)
    return direct(arguments, tier, name)


def direct(arguments, tier, name):
    """Hands the missing runs to workers and writes what they give."""
    import common
    import experiments

    runs = experiments.all_runs(arguments.seeds)
    groups = {run.group for run in runs}
    unknown = set(arguments.groups) - groups
    if unknown:
        raise SystemExit(f"unknown group {sorted(unknown)[0]!r}; one of {sorted(groups)}")
    output = arguments.output or common.RESULTS / f"lowbit_tier{name}.json"
    settings = {key: value for key, value in tier.items() if key not in ("workers", "seconds")}
    settings = json.loads(json.dumps(settings))
    done = read(output, settings)
    missing = [
        run
        for run in runs
        if run.key not in done and (not arguments.groups or run.group in arguments.groups)
    ]
    taken = [entry["seconds"] for entry in done.values()] or [tier["seconds"]]
    minutes = len(missing) * sum(taken) / len(taken) / 60 / tier["workers"]
    print(
        f"{len(runs)} runs in all, {len(done)} done, {len(missing)} to do now: about "
        f"{minutes:.0f} minutes with {tier['workers']} worker(s) of one thread.",
        flush=True,
    )
    if arguments.list:
        for run in missing:
            print(f"  {run.key}: {run.recipe or 'float'}")
        return 0
    waiting = queue.SimpleQueue()
    for run in missing:
        waiting.put(run.key)
    started = time.perf_counter()

    def serve(index):
        worker = start()
        while not waiting.empty():
            try:
                key = waiting.get_nowait()
            except queue.Empty:
                break
            result = ask(worker, key)
            done[key] = result
            common.write_document(output, "lowbit", dict(sorted(done.items())), settings)
            minutes = (time.perf_counter() - started) / 60
            shown = result.get("error") or f"{100 * result['accuracy']:.2f} %"
            print(f"{minutes:6.1f} min  {key}: {shown}", flush=True)
        worker.stdin.close()
        worker.wait()

    with concurrent.futures.ThreadPoolExecutor(tier["workers"]) as pool:
        list(pool.map(serve, range(tier["workers"])))
    return 0


def read(path, settings):
    """Results of an earlier run with the same settings."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["settings"] != settings:
        raise SystemExit(
            f"{path} holds results of other settings; move it away, or give --output."
        )
    return document["results"]


def start():
    return subprocess.Popen(
        [sys.executable, os.path.dirname(os.path.abspath(__file__)), *sys.argv[1:], "--worker", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(worker, key):
    worker.stdin.write(f"{key}\n")
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"the worker ended in the middle of {key}")


def work(tier):
    """Serves runs: reads a key, trains, prints the result as one line of JSON."""
    import common
    import experiments
    import keras
    import training

    if tier["backend"] == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    folder = str(common.SHARED / "data")
    data = training.cifar10(folder, "train", tier["train_images"])
    test = training.cifar10(folder, "test")
    if tier["train_images"] and tier["train_images"] < 1000:
        test = tuple(part[:1000] for part in test)
    runs = {run.key: run for run in experiments.all_runs()}
    for line in sys.stdin:
        run = runs[line.strip()]
        keras.backend.clear_session()
        keras.utils.set_random_seed(run.seed)
        model = run.build(widths=tier["widths"], blocks=tier["blocks"])
        result = training.train(
            model,
            data,
            epochs=tier["epochs"],
            batch_size=tier["batch_size"],
            learning_rate=tier["learning_rate"] * run.rate,
            seed=run.seed,
            recipe=run.recipe,
            test=test,
        )
        print(json.dumps({**result, "recipe": repr(run.recipe)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
