"""What was measured of `.tflite` files: times, memory and, where it is told, every operator."""

from __future__ import annotations

import dataclasses
import os

from tflite_tools.figures import short
from tflite_tools.tables import shorten, table

_MEGABYTE = 1e6

#: So many operators of a profile are shown; JSON has all.
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """One operator of a profile.

    Attributes:
        kind: The operator, or what XNNPACK calls what it runs in its place.
        name: Its tensor, where the profiler names it.
        milliseconds: Of one inference.
        share: Of the whole, 0 to 1.
    """

    kind: str
    name: str
    milliseconds: float
    share: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """What one file took on one runtime; times in milliseconds, memory in bytes.

    Attributes:
        path: The file.
        size: Its bytes.
        runtime: What ran it: "XNNPACK", "built-in kernels" or the name of a delegate.
        median: Over all timed runs; None where the runtime tells the mean alone.
        mean, minimum: Over all timed runs.
        low, high: The 10th and the 90th percentile; beside a mean, the mean less and more the
            standard deviation.
        runs: Number of timed runs.
        load: Reading the file and allocating its tensors.
        first: The first inference, which may do what later ones need not.
        memory: The largest resident set of the process that ran the file and nothing else.
        memory_added: How much of it came after LiteRT itself: the file, its tensors, its kernels.
        arena: Memory for activations with the built-in kernels, planned from the sizes in the file;
            LiteRT does not tell. None where they are not all known before it runs.
        operators: Profile, in the order of computation; None where there is none.
    """

    path: str
    size: int
    runtime: str
    median: float | None
    mean: float
    minimum: float
    low: float
    high: float
    runs: int
    load: float
    first: float
    memory: int | None = None
    memory_added: int | None = None
    arena: int | None = None
    operators: list[OperatorTime] | None = None

    @property
    def typical(self) -> float:
        """The median, or the mean where that is all there is."""
        return self.mean if self.median is None else self.median


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What `benchmark` or `benchmark_on_device` measured.

    Attributes:
        files: One entry for each path, in the order given; two, with XNNPACK and without, where
            both were asked for.
        threads: Number of CPU threads.
        xnnpack: Whether XNNPACK ran, or "both".
        device: Where.
        profile_note: Why a profile that was asked for is missing; or None.
    """

    files: list[Latency]
    threads: int
    xnnpack: bool | str
    device: str
    profile_note: str | None = None

    @property
    def statistic(self) -> str:
        """ "median", or "mean" where the runtime tells no median."""
        return "mean" if any(entry.median is None for entry in self.files) else "median"

    def to_dict(self) -> dict:
        """The same, ready for JSON."""
        return dataclasses.asdict(self)

    def __str__(self):
        spread = "10 to 90 %" if self.statistic == "median" else "± standard deviation"
        header = ("file", "runtime", "bytes", f"{self.statistic} ms", spread)
        header += ("first ms", "load ms", "peak MB", "added", "arena", "runs")
        lines = [
            f"{self.device}, {self.threads} thread{'s' if self.threads > 1 else ''}",
            table(header, [_row(entry) for entry in self.files], left=header[:2]),
            "peak: resident set of a process of its own; added: of it, what came with the file; "
            "arena: activations as the built-in kernels keep them, by the file",
        ]
        for entry in self.files:
            if entry.operators:
                lines += ["", _profile(entry)]
        if self.profile_note:
            lines.append(f"no profile by operator: {self.profile_note}")
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike | None = None):
        """Draws a bar for each file with its spread.

        Args:
            path: File to write, `.png`, `.svg` or `.pdf`; by default nothing is written.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show.

        Raises:
            ImportError: matplotlib is missing; the message says what to install.
            ValueError: The path cannot be written.
        """
        from tflite_tools import benchmark_plot  # it imports what drawing needs

        return benchmark_plot.draw(self, path)


def _row(entry: Latency) -> tuple[str, ...]:
    return (
        shorten(entry.path),
        entry.runtime,
        f"{entry.size:,}",
        f"{entry.typical:.3f}",
        f"{entry.low:.3f} to {entry.high:.3f}",
        f"{entry.first:.3f}",
        f"{entry.load:.3f}",
        _megabytes(entry.memory),
        _megabytes(entry.memory_added),
        _megabytes(entry.arena),
        str(entry.runs),
    )


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / _MEGABYTE:.1f}"


def _profile(entry: Latency) -> str:
    longest = sorted(entry.operators, key=lambda op: -op.milliseconds)
    rows = [
        (op.kind, f"{op.milliseconds:.3f}", f"{100 * op.share:.1f} %", short(op.name))
        for op in longest[:_SHOWN]
    ]
    left = len(longest) - len(rows)
    lines = [f"{entry.path}, {entry.runtime}: the longest of {len(longest)} operators"]
    lines.append(table(("operator", "ms", "share", "tensor"), rows, left=("operator", "tensor")))
    if left:
        lines.append(f"… and {left} more, {sum(op.milliseconds for op in longest[_SHOWN:]):.3f} ms")
    return "\n".join(lines)
