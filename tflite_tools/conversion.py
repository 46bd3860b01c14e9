"""A quantized Keras model to a `.tflite` file that has been checked before it is written."""

from __future__ import annotations

import collections
import dataclasses
import os
import time
from pathlib import Path

from mobilequant import targets
from mobilequant.integer.graph import FrozenGraph
from tflite_tools import detection, detection_tail, edgetpu, flatbuffer, inspection, int4
from tflite_tools.allowed import float_operators, require_allowed
from tflite_tools.batches import batches, random_batch
from tflite_tools.emission import emit
from tflite_tools.errors import ConversionError, InvalidModelError
from tflite_tools.figures import share
from tflite_tools.metadata import Task, embed
from tflite_tools.serialization import serialize
from tflite_tools.verification import Comparison, Verification
from tflite_tools.writing import writable, write_whole

#: Random images on which a file is compared with Keras where the caller gives none.
_CHECK_IMAGES = 4
_CHECK_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Report:
    """What `convert` wrote.

    Attributes:
        path: The file, as the caller named it.
        size: Its bytes.
        target: Name of the device.
        interface: Type of the inputs, and of the outputs unless `output_types` tells otherwise.
        operators: How many there are of each, float ones included.
        float_operators: How many of them compute in float, by kind; empty in an integer file.
        float_layers: Names of the layers that these come from; those of `postprocess` have none.
        tensors: How many there are of each type.
        agreement: Figures of the comparison with Keras; None where `check=False`.
        seconds: How long it took.
        output_types: Type of each output: "float32" where a float layer or `postprocess` gives it,
            "int32" of indices.
        cpu_layers: The layers with which the CPU's part begins, and why they will not run on the
            target's accelerator (`edgetpu.plan` says it of any file); empty where it has none.
        small_weights: The weights of 4 bits and less of a file for "phone-int4": which are INT4,
            and why the others are not. None for targets that do not pack them.
    """

    path: str
    size: int
    target: str
    interface: str
    operators: collections.Counter[str]
    tensors: collections.Counter[str]
    agreement: Verification | None
    seconds: float
    float_operators: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    float_layers: list[str] = dataclasses.field(default_factory=list)
    output_types: list[str] = dataclasses.field(default_factory=list)
    cpu_layers: list[edgetpu.Cause] = dataclasses.field(default_factory=list)
    small_weights: list[int4.Weights] | None = None

    def to_dict(self) -> dict:
        """The same, ready for JSON."""
        return {
            "path": self.path,
            "size": self.size,
            "target": self.target,
            "interface": self.interface,
            "output_types": self.output_types,
            "operators": dict(self.operators),
            "float_operators": dict(self.float_operators),
            "float_layers": self.float_layers,
            "tensors": dict(self.tensors),
            "agreement": self.agreement and self.agreement.to_dict(),
            "seconds": self.seconds,
            "cpu_layers": [dataclasses.asdict(layer) for layer in self.cpu_layers],
            "small_weights": self.small_weights
            and [dataclasses.asdict(weights) for weights in self.small_weights],
        }

    def __str__(self):
        lines = [
            f"{self.path}: {self.size:,} bytes for {self.target}, {self._types()}, "
            f"in {self.seconds:.1f} s",
            f"operators: {_listed(self.operators)}",
            f"agreement: {self._agreement()}",
        ]
        if self.float_layers:
            lines.insert(
                2,
                f"float: {sum(self.float_operators.values())} of the operators "
                f"({_listed(self.float_operators) or 'none'}), of the layers "
                f"{_some(self.float_layers)}",
            )
        elif self.float_operators:
            lines.insert(2, f"behind the integers, on the CPU: {_listed(self.float_operators)}")
        lines += [f"stays on the CPU: {layer}" for layer in self.cpu_layers]
        if self.small_weights is not None:
            lines += int4.describe(self.small_weights)
        return "\n".join(lines)

    def _types(self) -> str:
        outputs = list(dict.fromkeys(self.output_types)) or [self.interface]
        if outputs == [self.interface]:
            return f"{self.interface} in and out"
        return f"{self.interface} in, {' and '.join(outputs)} out"

    def _agreement(self) -> str:
        if self.agreement is None:
            return "not checked"
        figures = self.agreement
        text = (
            f"{share(figures.equal)} of outputs equal to Keras on {figures.images} images, "
            f"{figures.max_steps} steps at most"
        )
        if figures.logits is not None:
            text += f"; before the softmax {share(figures.logits.equal)} equal"
        if figures.borders is not None:
            text += f"; {figures.promise}"
        return text


def _some(names) -> str:
    listed = ", ".join(map(repr, names[:8]))
    return listed if len(names) <= 8 else f"{listed} and {len(names) - 8} more"


def _listed(operators) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(operators.items()))


def convert(
    qmodel,
    path: str | os.PathLike,
    *,
    target: str | None = None,
    interface: str | None = None,
    batch_size: int = 1,
    check: bool = True,
    samples=None,
    overwrite: bool = True,
    allow_float: bool = False,
    postprocess: detection.DetectionPostProcess | None = None,
    metadata: Task | None = None,
) -> Report:
    """Writes a quantized Keras model as an integer-only `.tflite` file.

    The file is checked before it is written: operators, versions and types are those that the
    target takes, LiteRT runs it, and its integers are those of Keras' inference. Where something
    does not hold nothing is written, and a file that was there stays as it was.

    A model with layers that were left in float (`mobilequant.quantize(…, leave_float=…)`) becomes
    a mixed file if `allow_float` says so: integers as ever, DEQUANTIZE before a float layer, its
    float operators, QUANTIZE where int8 goes on. Inputs stay integers; what a float layer gives as
    an output of the model stays float32. The integer layers compute exactly what Keras computes
    from the same integers; float kernels differ in the last bits, so that a QUANTIZE behind them
    may give the next integer, and a float output differ by 1/10000 of its largest value.

    Args:
        qmodel: What `mobilequant.quantize` returned, calibrated or trained.
        path: Where to write.
        target: The device, such as "phone-legacy"; by default the one that the model was
            quantized for, else another one of its family.
        interface: "int8" or "uint8" inputs and outputs; by default the target's first, with
            `metadata` "uint8", which the apps that read them take.
        batch_size: Size of the fixed first dimension.
        check: Whether to compare with Keras (the rest is always checked).
        samples: Images for this comparison, in any form that `verify` takes; random ones where
            left out.
        overwrite: Whether an existing file may be replaced.
        allow_float: Whether layers that were left in float may be written as float operators.
        postprocess: What is to follow on a detector's integers in the file, which then gives
            boxes, classes, scores and their count as float32 instead of box codes and scores.
        metadata: What apps are to know of the file, such as the names of its classes: an
            `ImageClassifier`, `ObjectDetector` or `ImageSegmenter` of `tflite_tools.metadata`.

    Raises:
        ConversionError: The path cannot be written, the model cannot be frozen, is for another
            target or would break the contract; the message names what is in the way.
        ValueError: The samples do not fit.
    """
    started = time.perf_counter()
    destination, path = writable(path, overwrite), Path(path)
    graph = _freeze(qmodel, allow_float)
    device = _target(graph, target)
    if graph.mixed and not device.float_operators:
        raise ConversionError(
            f"Model {graph.name!r}: target {device.name!r} takes no float operators; these layers "
            f"were left in float: {', '.join(map(repr, _float_layers(graph)))}. Use layers that "
            "it computes in integers, or target 'phone'."
        )
    if interface is None:
        interface = "uint8" if metadata is not None else device.interfaces[0]
    outputs = interface
    if postprocess is not None:
        detection.require_fit(graph, postprocess, device, batch_size)
        outputs = "int8"  # it takes float values, whatever the app gives
    data = emit(
        graph,
        target=device,
        interface=interface,
        output_interface=outputs,
        batch_size=batch_size,
    )
    model = flatbuffer.parse(data, path)
    small_weights = None
    if device.packs_int4:
        small_weights = int4.pack_weights(model)
        data = serialize(model)
    require_allowed(model, device, interface, graph.mixed, output_interface=outputs)
    on_edgetpu = device.accelerator == "edgetpu"
    cpu_layers = edgetpu.plan_model(model, str(path)).causes if on_edgetpu else []
    if postprocess is not None:
        data = detection_tail.attach(model, postprocess)
        model = flatbuffer.parse(data, path)
    if metadata is not None:
        data = _with_metadata(graph, model, metadata)
        model = flatbuffer.parse(data, path)
    if check:
        agreement = _check_agreement(qmodel, graph, model, data, samples)
    else:
        agreement = None
        _comparison(graph, model, data)
    write_whole(destination, data)
    found = inspection.inspect_model(model, str(path), len(data))
    operators: collections.Counter[str] = collections.Counter()
    for (kind, _), count in found.operators.items():
        operators[kind] += count
    return Report(
        path=str(path),
        size=len(data),
        target=device.name,
        interface=interface,
        operators=operators,
        tensors=found.tensors,
        agreement=agreement and dataclasses.replace(agreement, path=str(path)),
        seconds=time.perf_counter() - started,
        small_weights=small_weights,
        float_operators=float_operators(model),
        float_layers=_float_layers(graph),
        output_types=[output.dtype.lower() for output in found.outputs],
        cpu_layers=cpu_layers,
    )


def _freeze(qmodel, allow_float) -> FrozenGraph:
    from mobilequant.quantize import freeze

    try:
        return freeze(qmodel, allow_float=allow_float)
    except ValueError as error:
        raise ConversionError(str(error)) from error


def _float_layers(graph: FrozenGraph) -> list[str]:
    return list(dict.fromkeys(name for block in graph.float_blocks for name in block.layers))


def _target(graph: FrozenGraph, wanted: str | None) -> targets.Target:
    own = targets.get(graph.target)
    try:
        device = own if wanted is None else targets.get(wanted)
    except ValueError as error:
        raise ConversionError(str(error)) from None
    if device.family != own.family:
        raise ConversionError(
            f"Model {graph.name!r} was quantized for target {own.name!r}, not {device.name!r}: the "
            "target decides how layers are quantized. Use mobilequant.quantize(model, ..., "
            f"target={device.name!r})."
        )
    return device


def _with_metadata(graph, model, metadata) -> bytes:
    try:
        return embed(model, metadata)
    except (InvalidModelError, ValueError) as error:
        raise ConversionError(
            f"Model {graph.name!r} and its metadata do not fit: {error}"
        ) from error


def _check_agreement(qmodel, graph, model, data, samples) -> Verification:
    if samples is None:
        tests = [random_batch(graph, _CHECK_IMAGES)]
    else:
        tests = list(batches(samples, graph.inputs, _CHECK_BATCH))
    result = _compare(qmodel, graph, model, data, tests)
    if result.breach is None:
        return result
    wrong = _compare(qmodel, graph, model, data, tests, layers=True).breach or result.breach
    raise ConversionError(
        f"Layer {wrong.name!r} ({wrong.kind}) computes in LiteRT what lies up to {wrong.distance} "
        f"from Keras' inference ({share(wrong.equal)} of {wrong.elements} elements equal); target "
        f"{graph.target!r} allows {wrong.allowance}. {_likely_cause(wrong)}; nothing was written."
    )


def _compare(qmodel, graph, model, data, tests, layers=False) -> Verification:
    comparison = _comparison(graph, model, data, layers)
    for arrays, keras_batch in tests:
        comparison.add(qmodel, arrays, keras_batch)
    return comparison.result()


def _comparison(graph, model, data, layers=False) -> Comparison:
    """Loads the file into LiteRT, which is a check of its own."""
    try:
        return Comparison(graph, model, data, layers=layers)
    except ValueError as error:
        raise ConversionError(f"Model {graph.name!r}: {error}") from error


def _likely_cause(wrong) -> str:
    if wrong.kind == "FLOAT" or wrong.kind == "QUANTIZE" and wrong.allowed:
        return (
            "Its float kernels differ from TensorFlow's by more than rounding, or it jumps "
            "(rounds, compares) where they differ; check=False writes the file all the same"
        )
    return "This is a fault of mobilequant or of this processor's kernels"
