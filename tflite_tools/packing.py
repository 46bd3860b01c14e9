"""INT4 weights for any `.tflite` file, and what they change: size, latency, integers."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import zlib
from pathlib import Path

from tflite_tools import flatbuffer, int4
from tflite_tools.agreement import Agreement
from tflite_tools.benchmarking import benchmark
from tflite_tools.comparison import compare
from tflite_tools.comparison_report import FileComparison
from tflite_tools.errors import ConversionError, InvalidModelError
from tflite_tools.figures import Figures, share
from tflite_tools.metadata import archive
from tflite_tools.serialization import serialize
from tflite_tools.tables import table
from tflite_tools.writing import writable, write_whole

#: What a packed file must keep to: this share of outputs within one step, and none further away.
SHARE_WITHIN_ONE_STEP = 0.98
MOST_STEPS = 2


@dataclasses.dataclass(frozen=True)
class Packing:
    """What `pack` did.

    Attributes:
        path: The file that was there.
        output: The file that was written.
        bytes_before, bytes_after: Sizes on disk.
        zipped_before, zipped_after: Sizes as zlib compresses them, as in an app's package:
            weights of few levels, or sparse ones, are small there without INT4 already.
        weights: All weights that fit into 4 bits, see `int4.Weights`; those without a `reason`
            are INT4 now.
        comparison: The two files on the same images.
        latency_before, latency_after: Median of one run on this machine, one thread, the files in
            turn, in milliseconds; None where not measured.
        runtime: First TFLite release that runs the output; None where the file does not say.
        int4_before: How many weight tensors were INT4 already.
    """

    path: str
    output: str
    bytes_before: int
    bytes_after: int
    zipped_before: int
    zipped_after: int
    weights: list[int4.Weights]
    comparison: FileComparison
    latency_before: float | None = None
    latency_after: float | None = None
    runtime: str | None = None
    int4_before: int = 0

    @property
    def packed(self) -> list[int4.Weights]:
        """The weights that are INT4 now."""
        return [weights for weights in self.weights if weights.reason is None]

    @property
    def within_one_step(self) -> float:
        """Share of outputs that are the same integer or its neighbour; of float ones, equal."""
        outputs = self.comparison.outputs
        total = sum(output.elements for output in outputs)
        return sum(_within_one_step(o) * o.elements for o in outputs) / max(total, 1)

    @property
    def equal(self) -> float:
        """Share of outputs that are equal."""
        return self.comparison.equal

    @property
    def max_steps(self) -> int:
        """Largest difference of an integer output; 0 where all outputs are float."""
        steps = [o.max_steps for o in self.comparison.outputs if isinstance(o, Agreement)]
        return max(steps, default=0)

    @property
    def agrees(self) -> bool:
        """Whether the two files are as close as they must be."""
        return self.within_one_step >= SHARE_WITHIN_ONE_STEP and self.max_steps <= MOST_STEPS

    def to_dict(self) -> dict:
        """The same, ready for JSON."""
        figures = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("weights", "comparison")
        }
        return figures | {
            "weights": [dataclasses.asdict(weights) for weights in self.weights],
            "equal": self.equal,
            "within_one_step": self.within_one_step,
            "max_steps": self.max_steps,
            "images": self.comparison.images,
            "outputs": [output.to_dict() for output in self.comparison.outputs],
        }

    def __str__(self):
        rows = [
            ("on disk, bytes", *map(_count, (self.bytes_before, self.bytes_after))),
            ("zipped, bytes", *map(_count, (self.zipped_before, self.zipped_after))),
        ]
        if self.latency_before is not None:
            rows.append(("latency, ms", f"{self.latency_before:.3f}", f"{self.latency_after:.3f}"))
        title = f"{self.path} packed into {self.output}"
        if not self.packed:
            title = f"nothing to pack in {self.path}; {self.output} is the same"
        before = []
        if self.int4_before:
            before.append(f"INT4 already: {self.int4_before} weight tensors")
        return "\n".join(
            [
                title,
                table(("", "before", "after"), rows),
                *before,
                *(int4.describe(self.weights) if self.weights or not before else []),
                f"agreement: {self.agreement}",
                *([f"runs from TFLite {self.runtime} on"] if self.runtime else []),
            ]
        )

    @property
    def agreement(self) -> str:
        """The comparison of the two files, for people."""
        return (
            f"{share(self.equal)} of outputs equal on {self.comparison.images} images, "
            f"{share(self.within_one_step)} within one step, {self.max_steps} steps at most"
        )


def pack(
    path: str | os.PathLike,
    output: str | os.PathLike,
    images=None,
    *,
    where: str = "fast",
    runs: int = 50,
    check: bool = True,
    overwrite: bool = True,
) -> Packing:
    """Writes a copy of a `.tflite` file in which weights of 4 bits and less are INT4.

    Any int8 file will do. Taken are weights whose integers lie within ±7, those of 4 and 2 bits,
    ternary and binary ones alike; scales and names stay, and so do the zeros of sparse weights.
    Where there are none the copy is the same, byte for byte.

    By default they are packed where LiteRT computes the same integers from them as fast as before:
    in fully connected layers and convolutions of 1×1, which hold most weights of a MobileNet.
    `where="all"` takes all other convolutions too, for the smallest file, at the cost of kernels
    that are several times slower and a step off at times.

    Args:
        path: The file.
        output: Where to write; may be the same.
        images: Real values on which the two files are compared, in any form that `compare`
            takes; random ones by default.
        where: "fast" or "all".
        runs: Runs of each file to measure latency by; 0 for none.
        check: Whether to refuse a file that lies further away than `SHARE_WITHIN_ONE_STEP` and
            `MOST_STEPS` say. It is compared in any case.
        overwrite: Whether an existing file may be replaced.

    Raises:
        InvalidModelError: The file cannot be read or is no TFLite model.
        ConversionError: The output cannot be written, or is too far from the file; nothing is
            written.
        ValueError: An argument is out of range, the images do not fit, or LiteRT cannot run the
            file.
    """
    if runs < 0:
        raise ValueError(f"runs must be at least 0, got {runs}.")
    before = flatbuffer.read_bytes(path)
    model = flatbuffer.parse(before, path)
    place = writable(output, overwrite)
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise ConversionError(
            f"{path}: holds constants behind its flatbuffer, as files beyond 2 GB do; these are "
            "not packed."
        )
    runtime, int4_before = flatbuffer.minimum_runtime(model), int4.count(model)
    weights = int4.pack_weights(model, where)
    after = before
    if any(each.reason is None for each in weights):
        # What lies behind the model, labels for example, stays there.
        files = {name: archive.read(before, name) for name in archive.sizes(before)}
        after = archive.append(serialize(model), files)
        runtime = flatbuffer.minimum_runtime(model)
    with tempfile.TemporaryDirectory() as folder:
        # Copies of both: the output may take the file's place.
        names = os.path.basename(os.fspath(path)), f"{Path(path).stem}_packed.tflite"
        copies = [Path(folder) / name for name in names]
        for copy, data in zip(copies, (before, after), strict=True):
            copy.write_bytes(data)
        latencies = None, None
        try:
            comparison = compare(*copies, images)
            if runs:
                latencies = [file.median for file in benchmark(*copies, runs=runs).files]
        except ValueError as error:
            kind = InvalidModelError if isinstance(error, InvalidModelError) else ValueError
            raise kind(str(error).replace(str(copies[0]), os.fspath(path))) from error
    result = Packing(
        path=os.fspath(path),
        output=os.fspath(output),
        bytes_before=len(before),
        bytes_after=len(after),
        zipped_before=len(zlib.compress(before, 9)),
        zipped_after=len(zlib.compress(after, 9)),
        weights=weights,
        comparison=dataclasses.replace(comparison, first=os.fspath(path), second=os.fspath(output)),
        latency_before=latencies[0],
        latency_after=latencies[1],
        runtime=runtime,
        int4_before=int4_before,
    )
    if check and not result.agrees:
        raise ConversionError(
            f"{path}: packed, too far from the file as it is: {result.agreement}. At least "
            f"{SHARE_WITHIN_ONE_STEP:.0%} must lie within one step and none further than "
            f"{MOST_STEPS}; nothing was written. where='fast' keeps all integers, check=False "
            "writes it all the same."
        )
    write_whole(place, after)
    return result


def _within_one_step(output: Figures) -> float:
    return output.within_one_step if isinstance(output, Agreement) else output.equal


def _count(number: int) -> str:
    return f"{number:,}"
