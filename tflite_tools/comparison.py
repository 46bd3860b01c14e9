"""One `.tflite` file against another, whoever wrote them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import flatbuffer
from tflite_tools.agreement import Agreement, FloatAgreement, IndexAgreement
from tflite_tools.batches import Input, batches, random_images
from tflite_tools.child import require_runnable
from tflite_tools.comparison_report import FileComparison
from tflite_tools.figures import Figures
from tflite_tools.interpreter import Interpreter, Port
from tflite_tools.serialization import with_outputs

#: Images that both files have in memory at once with all their inner tensors.
_CHUNK = 8

_RANDOM_IMAGES = 16

#: Integers with a scale that are compared in steps.
_STEPS = (np.int8, np.uint8, np.int16)

#: Types of tensors that LiteRT hands out and that can be compared.
_COMPARABLE = {"FLOAT32", "FLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"}


def compare(
    first: str | os.PathLike,
    second: str | os.PathLike,
    images=None,
    *,
    batch_size: int = 32,
    layers: bool = False,
    kernels: str = "default",
) -> FileComparison:
    """Runs two files on the same images and counts where they differ.

    The files need not come from this package, nor from one another: it takes that their inputs and
    outputs have the same shapes. Inputs may be float, int8 or uint8, with different scales: each
    file gets the images as the integers that it takes them for. Where both give a tensor with one
    scale and one zero point (int8 and uint8 that stand for the same values count as one) it is
    compared in quantization steps, else by the real values that it stands for.

    Args:
        first: The file that is measured against.
        second: The other one.
        images: Real values, as the first file's inputs stand for them: an array, a dict of arrays
            by names of its inputs, a `tf.data.Dataset` or another iterable of batches, with or
            without labels. By default 16 random ones over the range of the inputs.
        batch_size: Images to a batch where `images` is an array.
        layers: Whether to compare the inner tensors of which both files have one of that name.
        kernels: "default" for what an app runs (XNNPACK), "builtin" for LiteRT's own kernels.

    Raises:
        InvalidModelError: A file cannot be read or is no sound TFLite model.
        ValueError: LiteRT cannot run a file, their inputs or outputs have different shapes, or the
            images do not fit or hold NaN, or there are none.
    """
    files = [_File(path, kernels) for path in (first, second)]
    _match(files, "inputs")
    _match(files, "outputs")
    outputs = [_figures(a, b, files[0].kind(a)) for a, b in _pairs(files, "outputs")]
    inner = _Inner(files, kernels) if layers else None
    total = 0
    for feeds in _feeds(files, images, batch_size):
        total += len(feeds[0][0])
        _add(outputs, files, [f.run(x) for f, x in zip(files, feeds, strict=True)])
        if inner is not None:
            inner.add(feeds)
    return FileComparison(
        first=files[0].path,
        second=files[1].path,
        images=total,
        kernels=kernels,
        outputs=outputs,
        layers=None if inner is None else inner.figures,
    )


class _File:
    """A file that has been tried out in a child and can be run here.

    Args:
        path: The file.
        kernels: As in `compare`.
        outputs: Numbers of tensors that it is to give instead of its outputs.

    Attributes:
        path: As messages name it.
        model: Parsed.
        inputs, outputs: Its `Port`s.
    """

    def __init__(self, path: str | os.PathLike, kernels: str, outputs: list[int] | None = None):
        self.path = os.fspath(path)
        data = flatbuffer.read_bytes(path)
        self.model = flatbuffer.parse(data, path)
        if outputs is not None:
            data = with_outputs(self.model, outputs)
        require_runnable(path, self.model, kernels, data)
        try:
            # Never resized: of a file of other hands nobody knows whether it could be.
            self._interpreter = Interpreter(data, kernels=kernels, resizable=False)
        except RuntimeError as error:
            raise ValueError(f"{self.path}: {error}") from error
        self.inputs, self.outputs = self._interpreter.inputs, self._interpreter.outputs

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One array for each output."""
        try:
            return self._interpreter.run(*arrays)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ValueError(f"{self.path}: LiteRT cannot run it: {error}") from error

    def kind(self, port: Port) -> str:
        """The operator that computes an output."""
        for op in self.model.subgraphs[0].operators:
            if port.index in op.outputs:
                return flatbuffer.operator_name(self.model, op)
        return "input"


class _Inner:
    """The comparison of inner tensors, on copies of the files that give them away.

    Attributes:
        figures: In the order of computation in the first file.
    """

    def __init__(self, files: list[_File], kernels: str):
        numbers = [_computed(file.model) for file in files]
        names = [name for name in numbers[0] if name in numbers[1]]
        names = [name for name in names if _alike(files, [each[name] for each in numbers])]
        self.figures: list[Figures] = []
        self._files: list[_File] = []
        if names:
            self._files = [
                _File(file.path, kernels, [each[name] for name in names])
                for file, each in zip(files, numbers, strict=True)
            ]
            self.figures = [
                _figures(a, b, self._files[0].kind(a)) for a, b in _pairs(self._files, "outputs")
            ]

    def add(self, feeds: list[list[np.ndarray]]) -> None:
        """Compares one batch."""
        found = [file.run(x) for file, x in zip(self._files, feeds, strict=False)]
        if found:
            _add(self.figures, self._files, found)


def _computed(model: schema.ModelT) -> dict[str, int]:
    """Numbers of the tensors that operators of the first subgraph compute, by their names."""
    main = model.subgraphs[0]
    return {
        flatbuffer.text(main.tensors[i].name): int(i)
        for op in main.operators
        for i in op.outputs
        if flatbuffer.TENSOR_TYPES[main.tensors[i].type] in _COMPARABLE
    }


def _alike(files: list[_File], numbers: list[int]) -> bool:
    """Whether tensors of one name have one shape; else the name means two things."""
    tensors = [file.model.subgraphs[0].tensors[i] for file, i in zip(files, numbers, strict=True)]
    shapes = [() if tensor.shape is None else tuple(tensor.shape)[1:] for tensor in tensors]
    return shapes[0] == shapes[1]


def _match(files: list[_File], what: str) -> None:
    for file in files:
        if not all(port.shape for port in getattr(file, what)) or not getattr(file, what):
            raise ValueError(f"{file.path} has {what} without a batch; it cannot be compared.")
    shapes = [[port.shape[1:] for port in getattr(file, what)] for file in files]
    if shapes[0] != shapes[1]:
        listed = [", ".join(str(port.shape) for port in getattr(file, what)) for file in files]
        raise ValueError(
            f"{files[1].path} has {what} of shapes {listed[1]}, {files[0].path} of {listed[0]}; "
            "only files whose shapes are the same can be compared."
        )


def _pairs(files: list[_File], what: str) -> Iterator[tuple[Port, Port]]:
    return zip(*(getattr(file, what) for file in files), strict=True)


def _figures(a: Port, b: Port, kind: str) -> Figures:
    if _in_steps(a, b):
        return Agreement(a.name, kind, allowed=None)
    if a.scale is None and b.scale is None and not _is_float(a) and not _is_float(b):
        return IndexAgreement(a.name, kind, allowed=None)
    return FloatAgreement(a.name, kind, promised=False)


def _in_steps(a: Port, b: Port) -> bool:
    if a.scale is None or a.scale != b.scale or not {a.dtype.type, b.dtype.type} <= set(_STEPS):
        return False
    same_size = a.dtype.itemsize == b.dtype.itemsize
    return same_size and _signed_zero_point(a) == _signed_zero_point(b)


def _signed_zero_point(port: Port) -> int:
    return port.zero_point - (128 if port.dtype == np.uint8 else 0)


def _is_float(port: Port) -> bool:
    return np.issubdtype(port.dtype, np.floating)


def _add(figures: list[Figures], files: list[_File], found: list[list[np.ndarray]]) -> None:
    for each, (a, b), x, y in zip(figures, _pairs(files, "outputs"), *found, strict=True):
        each.add(*(_comparable(each, port, array) for port, array in ((a, x), (b, y))))


def _comparable(figures: Figures, port: Port, array: np.ndarray) -> np.ndarray:
    if isinstance(figures, IndexAgreement):
        return array.astype(np.int64)
    if isinstance(figures, FloatAgreement):
        return port.dequantize(array).astype(np.float32)
    if array.dtype == np.uint8:
        return (array.astype(np.int16) - 128).astype(np.int8)
    return array


def _feeds(files: list[_File], images, batch_size: int) -> Iterator[list[list[np.ndarray]]]:
    """For each few images what each file takes them for."""
    if images is None:
        images = dict(_random(files))
    inputs = [Input(port.name, port.shape[1:]) for port in files[0].inputs]
    for arrays, _ in batches(images, inputs, batch_size):
        for start in range(0, len(arrays[0]), _CHUNK):
            part = [array[start : start + _CHUNK] for array in arrays]
            yield [
                [_taken(file, port, x) for port, x in zip(file.inputs, part, strict=True)]
                for file in files
            ]


def _taken(file: _File, port: Port, values: np.ndarray) -> np.ndarray:
    taken = port.quantize(values)
    if port.scale is None and not _is_float(port) and np.any(taken != values):
        raise ValueError(
            f"{file.path}: input {port.name!r} is {port.dtype} without a scale, so it takes whole "
            "numbers of that type, not the real values given."
        )
    return taken


def _random(files: list[_File]) -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng(0)
    for a, b in _pairs(files, "inputs"):
        low, high = _range(a if a.scale is not None else b)
        values = random_images(random, low, high, (_RANDOM_IMAGES, *a.shape[1:]))
        whole = any(port.scale is None and not _is_float(port) for port in (a, b))
        yield a.name, np.rint(values) if whole else values


def _range(port: Port) -> tuple[float, float]:
    """The real values of an input: those of its integers, or −1 to 1; of plain integers 0 and 1."""
    if port.scale is not None:
        limits = np.iinfo(port.dtype)
        low, high = port.dequantize(np.array([limits.min, limits.max]))
        return float(low), float(high)
    return (-1.0, 1.0) if _is_float(port) else (0.0, 1.0)
