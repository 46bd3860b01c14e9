"""A quantized Keras model to a `.tflite` file that has been checked before it is written."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import secrets
import time
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from mobilequant import targets
from mobilequant.integer.graph import FrozenGraph
from tflite_tools import flatbuffer, inspection
from tflite_tools.agreement import share
from tflite_tools.batches import batches, random_batch
from tflite_tools.emission import emit
from tflite_tools.errors import ConversionError
from tflite_tools.verification import Comparison, Verification

#: Random images on which a file is compared with Keras where the caller gives none.
_CHECK_IMAGES = 4
_CHECK_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Report:
    """What `convert` wrote.

    Attributes:
        path: The file.
        size: Its bytes.
        target: Name of the device.
        interface: Type of inputs and outputs.
        operators: How many there are of each.
        tensors: How many there are of each type.
        agreement: Figures of the comparison with Keras; None where `check=False`.
        seconds: How long it took.
    """

    path: str
    size: int
    target: str
    interface: str
    operators: collections.Counter[str]
    tensors: collections.Counter[str]
    agreement: Verification | None
    seconds: float

    def to_dict(self) -> dict:
        """The same, ready for JSON."""
        return {
            "path": self.path,
            "size": self.size,
            "target": self.target,
            "interface": self.interface,
            "operators": dict(self.operators),
            "tensors": dict(self.tensors),
            "agreement": self.agreement and self.agreement.to_dict(),
            "seconds": self.seconds,
        }

    def __str__(self):
        operators = ", ".join(f"{n} {kind}" for kind, n in sorted(self.operators.items()))
        lines = [
            f"{self.path}: {self.size:,} bytes for {self.target}, {self.interface} in and out, "
            f"in {self.seconds:.1f} s",
            f"operators: {operators}",
            f"agreement: {self._agreement()}",
        ]
        return "\n".join(lines)

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
        return text


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
) -> Report:
    """Writes a quantized Keras model as an integer-only `.tflite` file.

    The file is checked before it is written: operators, versions and types are those that the
    target takes, LiteRT runs it, and its integers are those of Keras' inference. Where something
    does not hold nothing is written, and a file that was there stays as it was.

    Args:
        qmodel: What `mobilequant.quantize` returned, calibrated or trained.
        path: Where to write.
        target: Must be the target that the model was quantized for, and may be left out.
        interface: "int8" or "uint8" inputs and outputs; by default the target's first.
        batch_size: Size of the fixed first dimension.
        check: Whether to compare with Keras (the rest is always checked).
        samples: Images for this comparison, in any form that `verify` takes; random ones where
            left out.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ConversionError: The path cannot be written, the model cannot be frozen, is for another
            target or would break the contract; the message names what is in the way.
        ValueError: The samples do not fit.
    """
    started = time.perf_counter()
    path = _writable(path, overwrite)
    graph = _freeze(qmodel)
    device = _target(graph, target)
    interface = device.interfaces[0] if interface is None else interface
    data = emit(graph, target=device, interface=interface, batch_size=batch_size)
    model = flatbuffer.parse(data, path)
    require_allowed(model, device, interface)
    if check:
        agreement = _check_agreement(qmodel, graph, model, data, device, samples)
    else:
        agreement = None
        _comparison(graph, model, data)
    write_whole(path, data)
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
    )


def require_allowed(model: schema.ModelT, target: targets.Target, interface: str) -> None:
    """Checks operators, versions and types of a file against its target.

    Args:
        model: The parsed file.
        target: The device.
        interface: Type that its inputs and outputs must have.

    Raises:
        ConversionError: Something is not allowed; the message names the tensor or operator.
    """
    main = model.subgraphs[0]
    ends = [*main.inputs, *main.outputs]
    for index, tensor in enumerate(main.tensors):
        kind = flatbuffer.TENSOR_TYPES[tensor.type].lower()
        name = flatbuffer.text(tensor.name)
        if index in ends and kind != interface:
            raise ConversionError(f"Tensor {name!r} is {kind}, the interface {interface}.")
        if index not in ends and kind not in ("int8", "int32"):
            raise ConversionError(f"Tensor {name!r} is {kind}; inside a file all is integer.")
    for op in main.operators:
        _require_operator_allowed(model, op, ends, target)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, also if the process is interrupted.

    Raises:
        ConversionError: It cannot be written; a file that was there stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise ConversionError(f"{path}: cannot be written: {error.strerror}.") from error
    finally:
        # After the replacement there is none; KeyboardInterrupt comes through here as well.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _require_operator_allowed(model, op, ends, target: targets.Target) -> None:
    kind = flatbuffer.operator_name(model, op)
    version = model.operatorCodes[op.opcodeIndex].version
    name = flatbuffer.text(model.subgraphs[0].tensors[op.outputs[0]].name)
    if kind not in target.operators or version > target.operators[kind]:
        raise ConversionError(
            f"Tensor {name!r} comes from {kind} version {version}; target {target.name!r} takes "
            f"{f'up to {target.operators[kind]}' if kind in target.operators else 'none'}."
        )
    at_an_end = op.inputs[0] in ends or op.outputs[0] in ends
    # From int8 to int8 a QUANTIZE brings a branch to the range that a concatenation wants.
    int8_only = kind == "QUANTIZE" and _types(model, op) == {schema.TensorType.INT8}
    if kind in ("QUANTIZE", "DEQUANTIZE") and not (at_an_end or int8_only):
        raise ConversionError(f"Tensor {name!r} comes from a {kind} inside the file.")


def _types(model: schema.ModelT, op: schema.OperatorT) -> set[int]:
    return {model.subgraphs[0].tensors[i].type for i in (*op.inputs, *op.outputs)}


def _writable(path: str | os.PathLike, overwrite: bool) -> Path:
    # The file itself, not a link to it, is what gets replaced.
    resolved = Path(os.path.realpath(path))
    if resolved.is_dir():
        raise ConversionError(f"{path}: is a directory; name a file to write.")
    if not resolved.parent.is_dir():
        raise ConversionError(f"{path}: there is no folder {resolved.parent}; make it first.")
    if not os.access(resolved.parent, os.W_OK | os.X_OK):
        raise ConversionError(f"{path}: the folder {resolved.parent} cannot be written to.")
    if resolved.exists():
        if not overwrite:
            raise ConversionError(f"{path}: exists already, and overwrite=False.")
        if not os.access(resolved, os.W_OK):
            raise ConversionError(f"{path}: exists and is write-protected.")
    return resolved


def _freeze(qmodel) -> FrozenGraph:
    from mobilequant.quantize import freeze

    try:
        return freeze(qmodel)
    except ValueError as error:
        raise ConversionError(str(error)) from error


def _target(graph: FrozenGraph, wanted: str | None) -> targets.Target:
    if wanted is not None and targets.get(wanted).name != graph.target:
        raise ConversionError(
            f"Model {graph.name!r} was quantized for target {graph.target!r}, not "
            f"{targets.get(wanted).name!r}: the target decides how layers are quantized. Use "
            f"mobilequant.quantize(model, ..., target={targets.get(wanted).name!r})."
        )
    return targets.get(graph.target if wanted is None else wanted)


def _check_agreement(qmodel, graph, model, data, target, samples) -> Verification:
    if samples is None:
        tests = [random_batch(graph, _CHECK_IMAGES)]
    else:
        tests = list(batches(samples, graph, _CHECK_BATCH))
    result = _compare(qmodel, graph, model, data, tests)
    checked = [*result.outputs, *([result.logits] if result.logits else [])]
    if all(figures.max_steps <= _allowed(target, figures.kind) for figures in checked):
        return result
    layers = _compare(qmodel, graph, model, data, tests, layers=True).layers
    wrong = next(
        figures
        for figures in [*layers, *checked]
        if figures.max_steps > _allowed(target, figures.kind)
    )
    raise ConversionError(
        f"Layer {wrong.name!r} ({wrong.kind}) computes in LiteRT what lies up to "
        f"{wrong.max_steps} steps from Keras' inference ({share(wrong.equal)} of "
        f"{wrong.elements} elements equal); target {target.name!r} allows "
        f"{_allowed(target, wrong.kind)}. This is a fault of mobilequant or of this processor's "
        "kernels; nothing was written."
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


def _allowed(target: targets.Target, kind: str) -> int:
    return target.max_steps.get(kind, target.max_steps["default"])
