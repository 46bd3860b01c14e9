"""The parts of a `.tflite` file as `inspect` describes them."""

from __future__ import annotations

import dataclasses

from tflite_tools.arena import ActivationMemory
from tflite_tools.tables import shorten


@dataclasses.dataclass(frozen=True)
class TensorSummary:
    """A tensor.

    Attributes:
        index: Its number in its subgraph.
        name: Its name in the file.
        dtype: Type as TFLite names it, for example "INT8".
        shape: With the batch; −1 where the file leaves a size open.
        scales: float32 as the file has them, one or one for each slice; empty where it is not
            quantized this way.
        zero_points: As many as scales.
        quantized_dimension: Along which the scales lie; None where there is at most one.
        block_size: How many consecutive values share a scale, where the scales are a tensor of
            their own; else None.
        constant_bytes: Of its constant; 0 where it is computed or fed.
        variable: Whether it is a state, kept from one run to the next.
        sparse: Whether only its values other than zero are stored.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int | None
    block_size: int | None
    constant_bytes: int
    variable: bool
    sparse: bool

    @property
    def scale(self) -> float | None:
        """The first scale; None where it is not quantized."""
        return self.scales[0] if self.scales else None

    @property
    def zero_point(self) -> int | None:
        """The first zero point; None where it is not quantized."""
        return self.zero_points[0] if self.zero_points else None

    def __str__(self):
        text = f"{shorten(self.name)} {self.dtype} {list(self.shape)}"
        return f"{text}, {self.quantization}" if self.quantization else text

    @property
    def quantization(self) -> str:
        """Scales and zero points in a few words; empty where it is not quantized."""
        if self.block_size is not None:
            return f"a scale for every {self.block_size} values"
        if len(self.scales) > 1:
            low, high, along = min(self.scales), max(self.scales), self.quantized_dimension
            return f"{len(self.scales)} scales {low:.3g} to {high:.3g} along {along}"
        return f"scale {self.scale:.8g}, zero point {self.zero_point}" if self.scales else ""


@dataclasses.dataclass(frozen=True)
class OperatorSummary:
    """An operator.

    Attributes:
        index: Its place in the order of execution of its subgraph.
        name: TFLite's name, or a custom operator's own.
        version: As the file states it.
        custom: Whether it is none of TFLite's.
        inputs: Indices of tensors; −1 for an optional one left out.
        outputs: Indices of tensors.
        layer: Name of its first output.
        multiply_adds: Of matrix products and convolutions; None where nobody can tell.
        parameters: Number of weights and biases that it is the first to read.
        weight_bytes: Bytes that they take in the file.
        custom_bytes: Bytes that a custom operator holds of its own.
    """

    index: int
    name: str
    version: int
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layer: str
    multiply_adds: int | None
    parameters: int
    weight_bytes: int
    custom_bytes: int


@dataclasses.dataclass(frozen=True)
class SubgraphSummary:
    """A graph of operators: the first one is the model, others are bodies of loops and branches.

    Attributes:
        name: Often empty.
        operators: In the order of execution.
        tensors: All of them.
        inputs: Indices of tensors.
        outputs: Indices of tensors.
        memory: What its activations take.
    """

    name: str
    operators: list[OperatorSummary]
    tensors: list[TensorSummary]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    memory: ActivationMemory


@dataclasses.dataclass(frozen=True)
class Signature:
    """Names that callers use.

    Attributes:
        name: Of the function.
        subgraph: Index of the subgraph that it calls.
        inputs: Index of a tensor by argument.
        outputs: Index of a tensor by result.
    """

    name: str
    subgraph: int
    inputs: dict[str, int]
    outputs: dict[str, int]

    def __str__(self):
        inputs, outputs = (", ".join(map(shorten, names)) for names in (self.inputs, self.outputs))
        return f"{shorten(self.name)}({inputs}) -> ({outputs})"
