"""Benchmarks of many models: each in a process of its own, results kept as they come."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class ModelsInTurn:
    """One benchmark.

    Attributes:
        script: The file to run, as `__file__` has it.
        description: For `--help`.
        name: Results go to results/NAME.json.
        models: Names, in the order of the results.
        minutes: What one takes, roughly.
        numbers: Whole numbers that can be set, with default and help; by the argument's name.
        settings: Returns what else the results depend on; called in the parent.
        measure: From a name and the arguments to the figures; called in the child.
        missing_only: Whether, where no names are given, those with a result are left out.
        finished: Called with the results once there is one of every model.
    """

    script: str
    description: str
    name: str
    models: Sequence[str]
    minutes: float
    numbers: dict[str, tuple[int, str]]
    settings: Callable[[], dict]
    measure: Callable[[str, argparse.Namespace], dict]
    missing_only: bool = False
    finished: Callable[[dict], None] | None = None

    def main(self) -> int:
        """Reads the command line and measures; returns the exit status."""
        arguments = self._arguments()
        if arguments.one:
            print(json.dumps(self.measure(arguments.one, arguments)), flush=True)
            return 0

        import common

        output = arguments.output or common.RESULTS / f"{self.name}.json"
        settings = {key: getattr(arguments, key) for key in self.numbers} | self.settings()
        found = _former(output, settings)
        every = [x for x in self.models if not (self.missing_only and x in found)]
        names = arguments.names or every
        print(f"{len(names)} models, about {self.minutes * len(names):g} minutes.", flush=True)
        if arguments.list:
            print("\n".join(names))
            return 0
        failed = 0
        for i, name in enumerate(names):
            started = time.perf_counter()
            result = self._in_a_process(name, arguments)
            if result is None:
                failed += 1
            else:
                found[name] = result
                found = {key: found[key] for key in self.models if key in found}
                common.write_document(output, self.name, found, settings)
            seconds = time.perf_counter() - started
            print(f"{i + 1} of {len(names)}, {name}: {seconds:.0f} s  {result or 'failed'}")
        if self.finished and arguments.output is None and len(found) == len(self.models):
            self.finished(found)
        return 1 if failed else 0

    def _arguments(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("names", nargs="*", help="models; by default all")
        for key, (value, text) in self.numbers.items():
            parser.add_argument(_option(key), type=int, default=value, help=text)
        parser.add_argument("--list", action="store_true", help="what it would measure")
        parser.add_argument(
            "--output", type=pathlib.Path, help=f"instead of results/{self.name}.json"
        )
        parser.add_argument("--one", help=argparse.SUPPRESS)
        arguments = parser.parse_args()
        unknown = sorted(set(arguments.names) - set(self.models))
        if unknown:
            parser.error(f"unknown models {unknown}; they are {', '.join(self.models)}")
        return arguments

    def _in_a_process(self, name: str, arguments) -> dict | None:
        """The figures of one model; None where its process failed."""
        script = [sys.executable, str(pathlib.Path(self.script).resolve()), "--one", name]
        options = [f"{_option(key)}={getattr(arguments, key)}" for key in self.numbers]
        process = subprocess.run([*script, *options], stdout=subprocess.PIPE, text=True)
        lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
        return json.loads(lines[-1]) if lines and not process.returncode else None


class Stopwatch:
    """Seconds of one stage after the other.

    Attributes:
        laps: What each stage took.
    """

    def __init__(self):
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends a stage."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 1)
        self._last = now
        print(f"  {name}: {self.laps[name]} s", file=sys.stderr, flush=True)


def sample(size: int, count: int):
    """(images in [−1, 1], labels) of ../shared's ImageNet sample.

    Args:
        size: Side of the images.
        count: How many, at most.
    """
    import common
    import numpy as np

    from mobilequant.data import load_classification

    data = load_classification(
        "imagenet_sample", data_dir=common.SHARED / "data", image_size=size, batch_size=16
    )
    pairs = list(data.test.unbatch().take(count).as_numpy_iterator())
    images, labels = zip(*pairs, strict=True)
    return np.stack(images), np.stack(labels)


def _former(output: pathlib.Path, settings: dict) -> dict:
    """Results that are there already, if they were made with the same settings."""
    if not output.exists():
        return {}
    document = json.loads(output.read_text(encoding="utf-8"))
    return document["results"] if document["settings"] == settings else {}


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"
