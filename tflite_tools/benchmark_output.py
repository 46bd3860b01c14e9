"""Reads what LiteRT's `benchmark_model` and its profiler print.

Its text is for people and has changed over the years: lines may begin with "INFO: ", the tables
lost their [start] column, sums of times got percentiles. Only what all of it has is asked for.
"""

from __future__ import annotations

import dataclasses
import re

from tflite_tools.benchmark_report import OperatorTime

_MEGABYTE = 1_000_000

#: "count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450", microseconds; once
#: for the warm-up, then for the timed runs. Of one run there is only "count=1 curr=980043".
_COUNT = re.compile(r"\bcount=\d+ .*$", re.MULTILINE)

_SUMMARY = re.compile(
    r"Inference timings in us: Init: (?P<load>[\d.e+]+), First inference: (?P<first>[\d.e+]+)"
)

#: In older versions "Peak memory footprint (MB): init=0 overall=12.8672".
_MEMORY = re.compile(r"emory footprint.*\(MB\): init=\S+ overall=(?P<overall>[\d.e+]+)")

_PROFILE = "Operator-wise Profiling Info for Regular Benchmark Runs"

#: [node type] [start]? [first] [avg ms] [%] [cdf%] [mem KB] [times called] [Name]; kinds of
#: XNNPACK hold spaces and brackets themselves.
_ROW = re.compile(
    r"^(?:INFO: )?\s*(?P<kind>\S.*?)\s+(?:[\d.]+\s+)?[\d.]+\s+(?P<mean>[\d.]+)\s+"
    r"(?P<share>[\d.]+)%\s+[\d.]+%\s+[\d.]+\s+(?P<calls>\d+)\s+(?P<name>\S.*?)\s*$"
)


@dataclasses.dataclass(frozen=True)
class Timings:
    """Times in milliseconds; as in `tflite_tools.benchmark_report.Latency`."""

    median: float | None
    mean: float
    minimum: float
    low: float
    high: float
    runs: int
    load: float
    first: float
    memory: int | None
    memory_added: int | None


def parse_timings(output: str) -> Timings:
    """The times of a run of `benchmark_model`.

    Args:
        output: All that it printed.

    Raises:
        ValueError: They are not in it; the message has the last line that is.
    """
    summary = _SUMMARY.search(output)
    sums = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in _COUNT.findall(output)]
    if summary is None or not sums:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        last = lines[-1][:300] if lines else "nothing"
        raise ValueError(f"benchmark_model printed no timings; the last it said: {last}")
    timed = {name: float(value) for name, value in sums[1 if len(sums) > 1 else 0].items()}
    mean = timed.get("avg", timed.get("curr"))
    deviation = timed.get("std", 0.0)
    footprint = _MEMORY.search(output)
    return Timings(
        median=None,
        mean=mean / 1000,
        minimum=timed.get("min", mean) / 1000,
        low=(mean - deviation) / 1000,
        high=(mean + deviation) / 1000,
        runs=int(timed["count"]),
        load=float(summary["load"]) / 1000,
        first=float(summary["first"]) / 1000,
        memory=None,
        # It tells what its process grew by, not what it holds.
        memory_added=round(float(footprint["overall"]) * _MEGABYTE) if footprint else None,
    )


def parse_profile(output: str) -> list[OperatorTime]:
    """The times of all operators, in the order of computation; empty where there are none.

    Args:
        output: All that `benchmark_model --enable_op_profiling=true` printed.
    """
    return parse_table(output.partition(_PROFILE)[2])


def parse_table(text: str, runs: int = 1) -> list[OperatorTime]:
    """Reads a profile's table of operators in the order of computation.

    Args:
        text: With one such table.
        runs: How many runs its column [times called] counts together.
    """
    _, _, table = text.partition("Run Order")
    table, _, _ = table.partition("Top by Computation Time")
    rows = [_ROW.match(line) for line in table.splitlines()]
    return [
        OperatorTime(
            kind=row["kind"],
            name=row["name"],
            # The mean is of one call.
            milliseconds=float(row["mean"]) * int(row["calls"]) / runs,
            share=float(row["share"]) / 100,
        )
        for row in rows
        if row is not None
    ]
