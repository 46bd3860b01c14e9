"""LiteRT's interpreter as the rest of this package uses it: arrays in, arrays out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import interpreter as litert

#: Which kernels run: "default" is what an app gets (XNNPACK), "builtin" LiteRT's own without it.
KERNELS = {
    "default": litert.OpResolverType.AUTO,
    "builtin": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


def resolver(kernels: str) -> litert.OpResolverType:
    """What LiteRT calls a key of `KERNELS`.

    Raises:
        ValueError: It is none.
    """
    if kernels not in KERNELS:
        raise ValueError(f"kernels must be one of {', '.join(KERNELS)}; got {kernels!r}.")
    return KERNELS[kernels]


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Attributes:
        name: The tensor's name.
        index: The tensor's number in the file.
        shape: Its shape, batch included.
        dtype: Its NumPy type.
        scale: float32 scale, or None where it is not quantized.
        zero_point: int, or None.
    """

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: np.float32 | None
    zero_point: int | None

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Real values as the integers of this tensor, rounded as LiteRT's QUANTIZE does."""
        if self.scale is None:
            return np.asarray(values, self.dtype)
        limits = np.iinfo(self.dtype)
        q = np.rint(np.asarray(values, np.float32) * (np.float32(1) / self.scale))
        return np.clip(q + self.zero_point, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, integers: np.ndarray) -> np.ndarray:
        """The real values, float32, that integers of this tensor stand for."""
        if self.scale is None:
            return integers
        return (integers.astype(np.float32) - np.float32(self.zero_point)) * self.scale


class Interpreter:
    """Runs a TFLite file.

    Args:
        model: The file's content. It must have passed `flatbuffer.parse`: LiteRT trusts what it
            reads, and a broken file can end the process.
        threads: Number of CPU threads.
        kernels: A key of `KERNELS`.
        resizable: Whether `run` may give the inputs another first dimension than the file's.

    Raises:
        ValueError: `kernels` is unknown.
        RuntimeError: LiteRT cannot run the model.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int = 1,
        kernels: str = "default",
        resizable: bool = True,
    ):
        self._model, self._threads, self._kernels = bytes(model), threads, resolver(kernels)
        self._resizable = resizable
        self._create()

    def _create(self) -> None:
        try:
            self._interpreter = litert.Interpreter(
                model_content=self._model,
                num_threads=self._threads,
                experimental_op_resolver_type=self._kernels,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RuntimeError(f"LiteRT does not take the model: {reason}") from error

    @property
    def inputs(self) -> list[Port]:
        """The model's inputs, in the file's order."""
        return [_port(details) for details in self._interpreter.get_input_details()]

    @property
    def outputs(self) -> list[Port]:
        """The model's outputs, in the file's order."""
        return [_port(details) for details in self._interpreter.get_output_details()]

    def operators(self) -> list[str]:
        """Names of the operators that run; one "DELEGATE" for each part that XNNPACK took over.

        The operators inside of such a part are still listed before it.
        """
        return [details["op_name"] for details in self._interpreter._get_ops_details()]

    def resize(self, batch_size: int) -> bool:
        """Gives all inputs another first dimension.

        Returns:
            Whether the model can. Where an operator fixes the batch it cannot: the interpreter
            then has the size of the file.
        """
        wanted = [(batch_size, *port.shape[1:]) for port in self.inputs]
        expected = [(batch_size, *port.shape[1:]) for port in self.outputs]
        try:
            for port, shape in zip(self.inputs, wanted, strict=True):
                self._interpreter.resize_tensor_input(port.index, shape)
            self._interpreter.allocate_tensors()
            if [port.shape for port in self.outputs] == expected:
                return True
        except (RuntimeError, ValueError):
            pass
        self._create()
        return False

    def run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Runs the model on any number of elements.

        Args:
            arrays: One array for each input, of its type and of its shape but for the first
                dimension. Where that is not the model's and the model cannot be resized to it,
                the model runs several times.

        Returns:
            One array for each output, with as many elements.
        """
        count, size = len(arrays[0]), self.inputs[0].shape[0]
        if count == size or self._resizable and self.resize(count):
            return self._run(arrays)
        size = self.inputs[0].shape[0]
        parts = []
        for start in range(0, count, size):
            part = [array[start : start + size] for array in arrays]
            missing = size - len(part[0])
            # The last part may be short; copies of its last element fill it up.
            filled = [np.concatenate([array, *[array[-1:]] * missing]) for array in part]
            parts.append([output[: size - missing] for output in self._run(filled)])
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.load(*arrays)
        self.invoke()
        return [self._interpreter.get_tensor(port.index) for port in self.outputs]

    def load(self, *arrays: np.ndarray) -> None:
        """Sets the inputs without running."""
        for port, array in zip(self.inputs, arrays, strict=True):
            self._interpreter.set_tensor(port.index, array)

    def invoke(self) -> None:
        """Runs the model on the inputs that are set."""
        self._interpreter.invoke()


def _port(details) -> Port:
    parameters = details["quantization_parameters"]
    quantized = len(parameters["scales"]) == 1
    return Port(
        name=details["name"],
        index=details["index"],
        shape=tuple(int(n) for n in details["shape"]),
        dtype=np.dtype(details["dtype"]),
        scale=np.float32(parameters["scales"][0]) if quantized else None,
        zero_point=int(parameters["zero_points"][0]) if quantized else None,
    )
