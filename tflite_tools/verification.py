"""Keras' inference against a `.tflite` file, in quantization steps.

Of an integer file every integer is compared with Keras'. In a mixed file float kernels stand
between integers; their last bits differ, so that now and then a QUANTIZE behind them gives the
next integer, and from there on, layer after layer, more may differ. So there are two comparisons.
End to end: how far the outputs lie apart. And part by part: Keras goes on from the integers that
the file has behind each QUANTIZE, so that all that is computed between floats must be equal again.
The second is the contract.
"""

from __future__ import annotations

import os

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilequant import targets
from mobilequant.integer.graph import FloatTensor, FrozenGraph, IndexTensor, Tensor
from tflite_tools import detection, detection_tail, flatbuffer
from tflite_tools.agreement import Agreement, FloatAgreement, IndexAgreement
from tflite_tools.batches import batches
from tflite_tools.child import require_runnable
from tflite_tools.interpreter import Interpreter, Port
from tflite_tools.serialization import serialize, with_outputs
from tflite_tools.verification_report import STEPS_BEHIND_FLOAT, Verification

_UINT8_OFFSET = 128


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
        path: The `.tflite` file, with int8 or uint8 inputs and outputs (float ones where a layer
            that was left in float gives them). Of a file that ends in
            TFLite_Detection_PostProcess the integers before it are compared, and it must run.
        images: What the Keras model takes: an array, a dict of arrays by input, a
            `tf.data.Dataset` or another iterable of batches, with or without labels.
        batch_size: Images to a batch where `images` is an array.
        layers: Whether to compare every inner tensor as well.
        kernels: "default" for what an app runs (XNNPACK), "builtin" for LiteRT's own kernels.

    Raises:
        InvalidModelError: The file cannot be read, is no TFLite model or ends LiteRT's process.
        ValueError: The model cannot be frozen, the file is not one of this model, the images do
            not fit or hold NaN, or there are none.
    """
    from mobilequant.quantize import freeze

    data = flatbuffer.read_bytes(path)
    model = flatbuffer.parse(data, path)
    require_runnable(path, model, kernels)
    graph = freeze(qmodel, allow_float=True)
    comparison = Comparison(graph, model, data, os.fspath(path), kernels, layers)
    for arrays, keras_batch in batches(images, comparison.graph.inputs, batch_size):
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
        self._detections: int | None = None
        try:
            if detection_tail.ends_in_postprocess(model):
                self._whole, self._detections = Interpreter(data, kernels=kernels), 0
                model = detection_tail.detach(model, path)
                data = serialize(model)
            self._file = Interpreter(data, kernels=kernels)
        except RuntimeError as error:
            raise ValueError(f"{path}: {error}") from error
        _match(self._file.inputs, graph.inputs, "input", path)
        _match(self._file.outputs, graph.outputs, "output", path)
        self._borders = {tensor.name for tensor in _borders(graph)}
        behind = _behind(graph, self._borders)
        self._outputs = [
            self._figures(tensor, promised=tensor.name not in behind) for tensor in graph.outputs
        ]
        numbers = _numbers(model, graph)
        logits = _before_softmax(graph)
        inner = _inner_tensors(graph, numbers, path) if layers else []
        self._logits = self._figures(logits) if logits and logits.name in numbers else None
        self._layers = [self._figures(tensor) for tensor in inner]
        self._wants_layers = layers
        self._border_figures = [self._figures(tensor) for tensor in _borders(graph)]
        self._behind = [self._figures(t) for t in graph.outputs if t.name in behind]
        self._watched = [
            *([self._logits] if self._logits else []),
            *self._layers,
            *self._border_figures,
            *self._behind,
        ]
        self._inside = None
        if self._watched:
            # The outputs are measured on the file as it is, inner tensors on a copy that gives
            # them away: an app's own path must not be changed by being watched.
            self._names = list(dict.fromkeys(figures.name for figures in self._watched))
            copy = with_outputs(model, [numbers[name] for name in self._names])
            self._inside = Interpreter(copy, kernels=kernels)

    def add(self, qmodel, arrays: list[np.ndarray], keras_batch) -> None:
        """Compares one batch, given as `batches` yields it."""
        from mobilequant.quantize import infer_tensors

        names = [tensor.name for tensor in self.graph.outputs]
        if not self._borders:
            names += [figures.name for figures in self._watched]
        expected = infer_tensors(qmodel, keras_batch, names)
        feeds = [port.quantize(x) for port, x in zip(self._file.inputs, arrays, strict=True)]
        self._images += len(feeds[0])
        if self._detections is not None:
            self._detections += self._detect(feeds)
        for figures, got in zip(self._outputs, self._file.run(*feeds), strict=True):
            figures.add(expected[figures.name], as_int8(got))
        if self._inside is None:
            return
        inner = dict(zip(self._names, map(as_int8, self._inside.run(*feeds)), strict=True))
        if self._borders:
            given = {name: inner[name] for name in self._borders}
            expected = infer_tensors(qmodel, keras_batch, self._names, instead=given)
        for figures in self._watched:
            figures.add(expected[figures.name], inner[figures.name])

    def result(self) -> Verification:
        """The figures of all batches so far."""
        return Verification(
            path=self._path,
            images=self._images,
            kernels=self._kernels,
            outputs=self._outputs,
            logits=self._logits,
            layers=self._layers if self._wants_layers else None,
            borders=self._border_figures if self.graph.mixed else None,
            behind=self._behind,
            detections=self._detections,
        )

    def _detect(self, feeds: list[np.ndarray]) -> int:
        """How many boxes the file finds with its last operator."""
        try:
            *_, counts = self._whole.run(*feeds)
        except RuntimeError as error:
            raise ValueError(f"{self._path}: {detection.KIND} does not run: {error}") from error
        return int(counts.sum())

    def _figures(self, tensor: Tensor | FloatTensor | IndexTensor, promised: bool = True):
        if isinstance(tensor, FloatTensor):
            return FloatAgreement(tensor.name, promised=promised)
        kind = self._kinds.get(tensor.name, "input")
        if isinstance(tensor, IndexTensor):
            return IndexAgreement(tensor.name, kind, allowed=0 if promised else None)
        limits = targets.get(self.graph.target).max_steps
        allowed = limits.get(kind, limits["default"])
        if tensor.name in self._borders:
            allowed = STEPS_BEHIND_FLOAT
        return Agreement(tensor.name, kind, allowed=allowed if promised else None)


def as_int8(integers: np.ndarray) -> np.ndarray:
    """The int8 integers of an int8 tensor, or of a uint8 one with its zero point 128 higher."""
    if integers.dtype == np.uint8:
        return (integers.astype(np.int16) - _UINT8_OFFSET).astype(np.int8)
    return integers


def _borders(graph: FrozenGraph) -> list[Tensor]:
    """Where integers begin behind float layers."""
    return [
        op.outputs[0]
        for op in graph.operators
        if op.kind == "QUANTIZE" and isinstance(op.inputs[0], FloatTensor)
    ]


def _behind(graph: FrozenGraph, borders: set[str]) -> set[str]:
    """Names of the tensors that depend on a border."""
    found = set(borders)
    for op in graph.operators:
        if any(tensor.name in found for tensor in op.inputs):
            found.update(tensor.name for tensor in op.outputs)
    return found


def _numbers(model: schema.ModelT, graph: FrozenGraph) -> dict[str, int]:
    """Numbers of the file's tensors by their names."""
    main = model.subgraphs[0]
    numbers = {flatbuffer.text(tensor.name): i for i, tensor in enumerate(main.tensors)}
    for tensor, number in zip(graph.outputs, main.outputs, strict=True):
        # What a float block only hands on has the name that it came with.
        if isinstance(tensor, FloatTensor):
            numbers.setdefault(tensor.name, int(number))
    return numbers


def _inner_tensors(graph: FrozenGraph, numbers: dict[str, int], path: str) -> list:
    """The tensors that the file has, in the order of computation."""
    computed = [tensor for op in graph.operators for tensor in op.outputs if not tensor.internal]
    found = [tensor for tensor in computed if tensor.name in numbers]
    if not found:
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
        is_float = isinstance(tensor, FloatTensor)
        if is_float and port.dtype != np.float32:
            raise ValueError(
                f"{path}: {what} {port.name!r} is {port.dtype}, in the model a layer that was left "
                "in float gives it."
            )
        if isinstance(tensor, IndexTensor):
            if port.dtype != np.int32:
                raise ValueError(
                    f"{path}: {what} {port.name!r} is {port.dtype}, in the model it is an index, "
                    "int32."
                )
        elif not is_float and port.dtype not in (np.int8, np.uint8):
            raise ValueError(
                f"{path}: {what} {port.name!r} is {port.dtype}; verify compares int8 and uint8."
            )
        if port.shape[1:] != tensor.shape:
            raise ValueError(
                f"{path}: {what} {port.name!r} has the shape {port.shape}, the model's "
                f"{tensor.name!r} (n, {', '.join(map(str, tensor.shape))})."
            )
        if not isinstance(tensor, Tensor):
            continue
        offset = _UINT8_OFFSET if port.dtype == np.uint8 else 0
        if (port.scale, port.zero_point) != (tensor.scale, tensor.zero_point + offset):
            raise ValueError(
                f"{path}: {what} {port.name!r} has scale {port.scale} and zero point "
                f"{port.zero_point}, the model's {tensor.name!r} {tensor.scale} and "
                f"{tensor.zero_point + offset}; was the file made from this model?"
            )
