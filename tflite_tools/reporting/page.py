"""`report`: everything that is known of a converted model, on one HTML page."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_tools import edgetpu
from tflite_tools.benchmarking import Benchmark, benchmark
from tflite_tools.inspection import Inspection, inspect
from tflite_tools.reporting import environment
from tflite_tools.reporting.content import Example, Measure

if TYPE_CHECKING:
    from mobilequant.quantize.sensitivity_report import Sensitivity
    from tflite_tools.verification import Verification


@dataclasses.dataclass(frozen=True, repr=False)
class ReportPage:
    """What `report` found; `html` makes the page of it.

    Attributes:
        path: The file.
        inspection: What is in it.
        plan: What of it an Edge TPU runs.
        latency: Measured on this machine; None where it was not, or could not be.
        latency_note: Why LiteRT could not run it; else empty.
        target: Name of the device that the model was quantized for; empty where there is none.
        recipe: What it was quantized by: its name, and how many layers have which weights.
        agreement: Keras against the file, every inner tensor; None where nothing was compared.
        sensitivity: What quantizing each layer costs; None where it was not measured.
        measures: Accuracy, as the caller measured it.
        examples: Images and what the models see in them, as the caller found it.
        origin: How the file was made, as lines for people: hashes, versions, the date.
    """

    path: str
    inspection: Inspection
    plan: edgetpu.Plan
    latency: Benchmark | None = None
    latency_note: str = ""
    target: str = ""
    recipe: str = ""
    agreement: Verification | None = None
    sensitivity: Sensitivity | None = None
    measures: Sequence[Measure] = ()
    examples: Sequence[Example] = ()
    origin: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __repr__(self):
        compared = "not compared with Keras"
        if self.agreement is not None:
            holds = "holds" if self.agreement.breach is None else "is broken"
            compared = f"the contract {holds} on {self.agreement.images} images"
        return f"<ReportPage of {self.path!r}: {self.inspection.size:,} bytes, {compared}>"

    @property
    def html(self) -> str:
        """The page: one document with styles, script and pictures inside, that loads nothing."""
        from tflite_tools.reporting.rendering import render

        return render(self)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the page, whole or not at all.

        Raises:
            ValueError: The path does not end in .html, or cannot be written.
        """
        _write(_writable(path), self.html)

    def to_dict(self) -> dict[str, Any]:
        """All that is on the page, ready for JSON; without pictures."""
        return {
            "path": self.path,
            "target": self.target,
            "recipe": self.recipe,
            "measures": [{"name": m.name, "values": dict(m.values)} for m in self.measures],
            "contract": None if self.agreement is None else self.agreement.breach is None,
            "agreement": self.agreement and self.agreement.to_dict(),
            "sensitivity": self.sensitivity and self.sensitivity.to_dict(),
            "latency": self.latency and self.latency.to_dict(),
            "inspection": self.inspection.to_dict(),
            "edgetpu": self.plan.to_dict(),
            "examples": [example.to_dict() for example in self.examples],
            "origin": dict(self.origin),
        }


def report(
    path: str | os.PathLike,
    output: str | os.PathLike | None = None,
    *,
    qmodel=None,
    images=None,
    layer_errors: bool = True,
    measures: Sequence[Measure] = (),
    examples: Sequence[Example] = (),
    origin: Mapping[str, str] | None = None,
    runs: int = 100,
) -> ReportPage:
    """Says all there is to say about a `.tflite` file, on one HTML page for any screen.

    The page has what is in the file, what of it an Edge TPU runs and its latency on this machine;
    with the model and images also whether the file computes what Keras computes, tensor by
    tensor, and what quantizing each layer costs; and what the caller measured and drew.

    Args:
        path: The `.tflite` file.
        output: Where to write the page, an .html file; None for nowhere.
        qmodel: The quantized Keras model that the file was made from.
        images: For the comparison, in any form that `verify` takes; needs `qmodel`.
        layer_errors: Whether to measure what quantizing each layer costs, on the first batch of
            `images` (32 of an array); takes about as long as (layers + 2) inferences.
        measures: Accuracy of the models.
        examples: Images with predictions.
        origin: What else is known of how the file was made, a text by its name.
        runs: Timed runs for the latency; 0 for none.

    Returns:
        A `ReportPage`.

    Raises:
        InvalidModelError: The file cannot be read or is no TFLite model.
        ValueError: The page cannot be written, `images` come without `qmodel` or the other way
            round, or model, file and images do not fit together.
    """
    if (qmodel is None) != (images is None):
        raise ValueError("report compares a model and a file on images: give both or neither.")
    target = None if output is None else _writable(output)
    page = ReportPage(
        path=os.fspath(path),
        inspection=inspect(path),
        plan=edgetpu.plan(path),
        measures=tuple(measures),
        examples=tuple(examples),
        origin={"File": _hash_line(path), **(origin or {}), **environment.describe()},
    )
    if qmodel is not None:
        page = dataclasses.replace(page, **_against_keras(qmodel, path, images, layer_errors))
    if runs:
        page = dataclasses.replace(page, **_latency(path, runs))
    if target is not None:
        _write(target, page.html)
    return page


def _against_keras(qmodel, path, images, layer_errors: bool) -> dict[str, Any]:
    from mobilequant.layers import QuantizedInput
    from mobilequant.quantize import sensitivity
    from mobilequant.quantize.state import quantized_layers
    from tflite_tools.verification import verify

    if not hasattr(images, "shape") and iter(images) is images:
        raise ValueError("The images are read twice: give an array or a data set, no generator.")
    found = {"agreement": verify(qmodel, path, images, layers=True)}
    members = quantized_layers(qmodel)
    source = next(layer for layer in members if isinstance(layer, QuantizedInput))
    found.update(target=source.target, recipe=_recipe(source.recipe, members))
    if layer_errors:
        found["sensitivity"] = sensitivity(qmodel, images, steps=1, verbose=0)
    return found


def _recipe(name: str, members) -> str:
    from mobilequant.layers import FoldedLayer
    from mobilequant.layers.base import describe

    weights = collections.Counter(
        describe(layer.weight_scheme) for layer in members if isinstance(layer, FoldedLayer)
    )
    lines = [f"weights of {n} layer{'s' * (n != 1)}: {text}" for text, n in weights.items()]
    return "; ".join([name, *lines])


def _latency(path, runs: int) -> dict[str, Any]:
    try:
        return {"latency": benchmark(path, runs=runs)}
    except ValueError as error:  # for an accelerator that this machine does not have, for example
        return {"latency_note": str(error)}


def _hash_line(path) -> str:
    return f"{Path(path).name}, SHA-256 {environment.sha256(path)}"


def _writable(path: str | os.PathLike) -> Path:
    from mobilequant import drawing

    return drawing.check_path(path, suffixes=(".html",))


def _write(path: Path, text: str) -> None:
    from mobilequant.writing import written_whole

    try:
        with written_whole(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror or error}.") from error
