"""Keras' inference against a `.tflite` file, in quantization steps."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilequant.integer.graph import FrozenGraph, Tensor
from tflite_tools import flatbuffer
from tflite_tools.agreement import Agreement
from tflite_tools.batches import batches
from tflite_tools.emission import pack
from tflite_tools.interpreter import Interpreter, Port
from tflite_tools.tables import table

_UINT8_OFFSET = 128


@dataclasses.dataclass(frozen=True)
class Verification:
    """How well a file agrees with the model that it was made from.

    Attributes:
        path: The file.
        images: Number of images compared.
        kernels: "default" or "builtin".
        outputs: Figures of each output.
        logits: Figures of the tensor before the softmax, where the first output is one; or None.
        layers: Figures of every tensor in the order of computation, where asked for; or None.
    """

    path: str
    images: int
    kernels: str
    outputs: list[Agreement]
    logits: Agreement | None = None
    layers: list[Agreement] | None = None

    @property
    def equal(self) -> float:
        """Share of output elements that are the same integer in Keras and in the file."""
        return self._mean("equal")

    @property
    def within_one_step(self) -> float:
        """Share of output elements that are the same integer or its neighbour."""
        return self._mean("within_one_step")

    @property
    def max_steps(self) -> int:
        """Largest difference of an output element."""
        return max(output.max_steps for output in self.outputs)

    @property
    def top1_agreement(self) -> float | None:
        """Share of images (or pixels) with the same top-1 class, by the first output."""
        return self.outputs[0].top1_agreement

    @property
    def span(self) -> int:
        """Integers from the smallest to the largest of the first output."""
        return self.outputs[0].span

    @property
    def first_difference(self) -> Agreement | None:
        """The first tensor where Keras and file part (`layers=True`), or None."""
        return next((layer for layer in self.layers or () if layer.max_steps), None)

    def to_dict(self) -> dict:
        """All figures, ready for JSON."""
        return {
            "path": self.path,
            "images": self.images,
            "kernels": self.kernels,
            "equal": self.equal,
            "within_one_step": self.within_one_step,
            "max_steps": self.max_steps,
            "top1_agreement": self.top1_agreement,
            "outputs": [output.to_dict() for output in self.outputs],
            "logits": self.logits and self.logits.to_dict(),
            "layers": self.layers and [layer.to_dict() for layer in self.layers],
        }

    def __str__(self):
        rows = [*self.outputs, *([self.logits] if self.logits else []), *(self.layers or [])]
        lines = [
            f"{self.path} against Keras on {self.images} images, {self.kernels} kernels",
            table(Agreement.HEADER, [agreement.row() for agreement in rows]),
        ]
        if self.layers is not None:
            first = self.first_difference
            lines.append(
                "every tensor agrees"
                if first is None
                else f"first difference: {first.name} ({first.kind})"
            )
        return "\n".join(lines)

    def _mean(self, figure: str) -> float:
        elements = sum(output.elements for output in self.outputs)
        return sum(getattr(out, figure) * out.elements for out in self.outputs) / elements


def verify(
    qmodel,
    path: str | os.PathLike,
    images,
    *,
    batch_size: int = 32,
    layers: bool = False,
    kernels: str = "default",
) -> Verification:
    """Runs model and file on the same images and counts where their integers differ.

    Args:
        qmodel: The quantized Keras model that the file was made from.
        path: The `.tflite` file, with int8 or uint8 inputs and outputs.
        images: What the Keras model takes: an array, a dict of arrays by input, a
            `tf.data.Dataset` or another iterable of batches, with or without labels.
        batch_size: Images to a batch where `images` is an array.
        layers: Whether to compare every inner tensor as well.
        kernels: "default" for what an app runs (XNNPACK), "builtin" for LiteRT's own kernels.

    Raises:
        InvalidModelError: The file cannot be read or is no TFLite model.
        ValueError: The model cannot be frozen, the file is not one of this model, the images do
            not fit or hold NaN, or there are none.
    """
    from mobilequant.quantize import freeze

    data = flatbuffer.read_bytes(path)
    model = flatbuffer.parse(data, path)
    comparison = Comparison(freeze(qmodel), model, data, os.fspath(path), kernels, layers)
    for arrays, keras_batch in batches(images, comparison.graph, batch_size):
        comparison.add(qmodel, arrays, keras_batch)
    return comparison.result()


class Comparison:
    """A comparison in progress.

    Args:
        graph: The frozen graph of the Keras model.
        model: The parsed file.
        data: The file's bytes.
        path: What messages call it.
        kernels: As in `verify`.
        layers: As in `verify`.

    Raises:
        ValueError: The file's inputs and outputs are not those of the graph, or LiteRT cannot
            run it.
    """

    def __init__(
        self,
        graph: FrozenGraph,
        model: schema.ModelT,
        data: bytes,
        path: str = "the file",
        kernels: str = "default",
        layers: bool = False,
    ):
        self.graph = graph
        self._path, self._kernels, self._images = path, kernels, 0
        self._kinds = {tensor.name: op.kind for op in graph.operators for tensor in op.outputs}
        try:
            self._file = Interpreter(data, kernels=kernels)
        except RuntimeError as error:
            raise ValueError(f"{path}: {error}") from error
        _match(self._file.inputs, graph.inputs, "input", path)
        _match(self._file.outputs, graph.outputs, "output", path)
        self._outputs = [self._agreement(tensor) for tensor in graph.outputs]
        inner = _inner_tensors(graph, model, layers, path)
        self._logits = inner.pop("logits", None)
        self._layers = [self._agreement(tensor) for tensor, _ in inner.get("layers", [])]
        self._wants_layers = layers
        self._before_softmax = self._logits and self._agreement(self._logits[0])
        watched = [*([self._logits] if self._logits else []), *inner.get("layers", [])]
        self._watched = [tensor for tensor, _ in watched]
        self._inside = None
        if watched:
            # The outputs are measured on the file as it is, inner tensors on a copy that gives
            # them away: an app's own path must not be changed by being watched.
            copy = with_outputs(model, [index for _, index in watched])
            self._inside = Interpreter(copy, kernels=kernels)

    def add(self, qmodel, arrays: list[np.ndarray], keras_batch) -> None:
        """Compares one batch, given as `batches` yields it."""
        from mobilequant.quantize import infer_tensors

        names = [tensor.name for tensor in (*self.graph.outputs, *self._watched)]
        expected = infer_tensors(qmodel, keras_batch, names)
        feeds = [port.quantize(x) for port, x in zip(self._file.inputs, arrays, strict=True)]
        self._images += len(feeds[0])
        for agreement, got in zip(self._outputs, self._file.run(*feeds), strict=True):
            agreement.add(expected[agreement.name], as_int8(got))
        if self._inside is not None:
            inner = [*([self._before_softmax] if self._before_softmax else []), *self._layers]
            for agreement, got in zip(inner, self._inside.run(*feeds), strict=True):
                agreement.add(expected[agreement.name], as_int8(got))

    def result(self) -> Verification:
        """The figures of all batches so far."""
        return Verification(
            path=self._path,
            images=self._images,
            kernels=self._kernels,
            outputs=self._outputs,
            logits=self._before_softmax,
            layers=self._layers if self._wants_layers else None,
        )

    def _agreement(self, tensor: Tensor) -> Agreement:
        return Agreement(tensor.name, self._kinds.get(tensor.name, "input"))


def with_outputs(model: schema.ModelT, indices: list[int]) -> bytes:
    """A copy of a file with other tensors of its first subgraph as outputs.

    Args:
        model: The parsed file; left as it is.
        indices: Numbers of the tensors.
    """
    main = model.subgraphs[0]
    outputs, signatures = main.outputs, model.signatureDefs
    try:
        main.outputs, model.signatureDefs = np.array(indices, np.int32), None
        return pack(model)
    finally:
        main.outputs, model.signatureDefs = outputs, signatures


def as_int8(integers: np.ndarray) -> np.ndarray:
    """The int8 integers of an int8 tensor, or of a uint8 one with its zero point 128 higher."""
    if integers.dtype == np.uint8:
        return (integers.astype(np.int16) - _UINT8_OFFSET).astype(np.int8)
    return integers


def _inner_tensors(graph: FrozenGraph, model: schema.ModelT, layers: bool, path: str) -> dict:
    """Tensors to watch with their numbers in the file: "logits", and "layers" where asked for."""
    main = model.subgraphs[0]
    numbers = {flatbuffer.text(tensor.name): i for i, tensor in enumerate(main.tensors)}
    found = {}
    logits = _before_softmax(graph)
    if logits is not None and logits.name in numbers:
        found["logits"] = (logits, numbers[logits.name])
    if layers:
        computed = [t for op in graph.operators for t in op.outputs if not t.internal]
        found["layers"] = [(t, numbers[t.name]) for t in computed if t.name in numbers]
        if not found["layers"]:
            raise ValueError(f"{path}: no inner tensor is named as in the model; cannot compare.")
    return found


def _before_softmax(graph: FrozenGraph) -> Tensor | None:
    for op in graph.operators:
        if op.kind == "SOFTMAX" and any(output is graph.outputs[0] for output in op.outputs):
            return op.inputs[0]
    return None


def _match(ports: list[Port], tensors: list[Tensor], what: str, path: str) -> None:
    if len(ports) != len(tensors):
        raise ValueError(f"{path} has {len(ports)} {what}s, the model {len(tensors)}.")
    for port, tensor in zip(ports, tensors, strict=True):
        if port.dtype not in (np.int8, np.uint8):
            raise ValueError(
                f"{path}: {what} {port.name!r} is {port.dtype}; verify compares int8 and uint8."
            )
        if port.shape[1:] != tensor.shape:
            raise ValueError(
                f"{path}: {what} {port.name!r} has the shape {port.shape}, the model's "
                f"{tensor.name!r} (n, {', '.join(map(str, tensor.shape))})."
            )
        offset = _UINT8_OFFSET if port.dtype == np.uint8 else 0
        if (port.scale, port.zero_point) != (tensor.scale, tensor.zero_point + offset):
            raise ValueError(
                f"{path}: {what} {port.name!r} has scale {port.scale} and zero point "
                f"{port.zero_point}, the model's {tensor.name!r} {tensor.scale} and "
                f"{tensor.zero_point + offset}; was the file made from this model?"
            )
