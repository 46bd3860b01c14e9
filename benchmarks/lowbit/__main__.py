"""Training at low precision: `ste`, `lsq` and `denoise` side by side on CIFAR-10.

    python benchmarks/lowbit                    # what is missing of tier 1: everything, two workers
    python benchmarks/lowbit comparison/w1a1 ridge   # runs whose names begin so
    python benchmarks/lowbit --list             # what it would run, and for how long
    python benchmarks/lowbit --tier 2           # all images, more epochs, Keras on JAX on a GPU
    python benchmarks/lowbit --tiny             # a trial of the whole machinery in a few minutes

Every run starts from the same weights (of its seed: a float network after half of the schedule) and
sees the same images in the same order under the same schedule; the float network is trained on
alike. Each result is written as soon as it is there, so an interrupted run goes
on where it was: results/lowbit_tier1.json, plots beside it (`lowbit/report.py`).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import queue
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

#: Images to train on (None: all 50,000); epochs in all, how many of them in float (the weights
#: from which every quantized run starts); batch, peak learning rate; the network; workers, and
#: seconds that a run takes there.
TIERS = {
    "1": {
        "train_images": 25_000,
        "epochs": 4,
        "float_epochs": 2,
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
        "float_epochs": 10,
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
        "epochs": 2,
        "float_epochs": 1,
        "batch_size": 64,
        "learning_rate": 4e-3,
        "widths": (8, 16, 16),
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
    parser.add_argument("names", nargs="*", help="beginnings of runs' names; all by default")
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


def direct(arguments, tier, tier_name):
    """Hands the missing runs to workers and writes what they give."""
    import common
    import experiments

    runs = experiments.all_runs(arguments.seeds)
    for name in arguments.names:
        if not any(run.key.startswith(name) for run in runs):
            raise SystemExit(f"no run's name begins with {name!r}; --list shows them")
    output = arguments.output or common.RESULTS / f"lowbit_tier{tier_name}.json"
    settings = {key: value for key, value in tier.items() if key not in ("workers", "seconds")}
    settings = json.loads(json.dumps(settings))
    done = read(output, settings)
    missing = [
        run
        for run in runs
        if run.key not in done and run.key.startswith(tuple(arguments.names) or "")
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
            print(f"{minutes:6.1f} min  {key}: {100 * result['accuracy']:.2f} %", flush=True)
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
        raise SystemExit(f"{path} holds results of other settings; move it away, or give --output.")
    return document["results"]


def start():
    return subprocess.Popen(
        [
            sys.executable,
            os.path.dirname(os.path.abspath(__file__)),
            *sys.argv[1:],
            "--worker",
            "1",
        ],
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
        weights = start_of(run, data, tier) if run.warm else None
        result, _ = training.train(
            make(run, tier),
            data,
            test,
            tier,
            seed=run.seed,
            rate=run.rate,
            recipe=run.recipe,
            weights=weights,
        )
        print(json.dumps({**result, "recipe": repr(run.recipe)}), flush=True)
    return 0


def make(run, tier):
    """The float network of a run, with the initial weights of its seed."""
    import keras

    keras.utils.set_random_seed(run.seed)
    return run.build(widths=tier["widths"], blocks=tier["blocks"])


def start_of(run, data, tier):
    """Weights of the run's network after the float epochs, trained once for all runs of a seed."""
    import common
    import numpy as np
    import training

    model = make(run, tier)
    # Everything that the weights depend on is in the file's name.
    facts = [run.network, run.seed, *(f"{key}={tier[key]}" for key in sorted(tier))]
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    path = common.WORK / "lowbit" / f"{run.network}-{run.seed}-{digest}.npz"
    if not path.exists():
        weights = training.float_start(model, data, tier, seed=run.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(temporary, *weights)
        os.replace(temporary, path)
    with np.load(path) as stored:
        return [stored[f"arr_{index}"] for index in range(len(stored.files))]


if __name__ == "__main__":
    sys.exit(main())
