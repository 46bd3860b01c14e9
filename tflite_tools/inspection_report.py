"""What `inspect` found: an object that gives text, a dictionary for JSON, and a drawing."""

from __future__ import annotations

import collections
import dataclasses
import os
from typing import Any

from tflite_tools import inspection_text, runtimes
from tflite_tools.summaries import Signature, SubgraphSummary, TensorSummary

_FLOAT = ("FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64")


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        path: The file.
        size: Bytes of the file.
        schema_version: Of TFLite's schema; 3 in all files of today.
        description: What its writer says of itself.
        subgraphs: The first one is the model.
        parameters: Number of weights and biases.
        weight_bytes: Bytes that they take.
        signatures: Names that callers use.
        metadata: Bytes of each entry by name.
        stated_runtime: First TFLite release that runs the file, as its metadata says; or None.
    """

    path: str
    size: int
    schema_version: int
    description: str
    subgraphs: list[SubgraphSummary]
    parameters: int
    weight_bytes: int
    signatures: list[Signature]
    metadata: dict[str, int]
    stated_runtime: str | None

    @property
    def operators(self) -> collections.Counter[tuple[str, int]]:
        """How many operators there are of each (name, version); all subgraphs together."""
        return collections.Counter((op.name, op.version) for op in self._all_operators())

    @property
    def tensors(self) -> collections.Counter[str]:
        """How many tensors there are of each type; all subgraphs together."""
        return collections.Counter(tensor.dtype for tensor in self._all_tensors())

    @property
    def inputs(self) -> list[TensorSummary]:
        """Inputs of the model."""
        return [self.subgraphs[0].tensors[i] for i in self.subgraphs[0].inputs]

    @property
    def outputs(self) -> list[TensorSummary]:
        """Outputs of the model."""
        return [self.subgraphs[0].tensors[i] for i in self.subgraphs[0].outputs]

    @property
    def float_tensors(self) -> list[str]:
        """Names of the tensors of a floating-point type."""
        return [tensor.name for tensor in self._all_tensors() if tensor.dtype in _FLOAT]

    @property
    def multiply_adds(self) -> int:
        """Of all operators of which they are known, each counted once."""
        return sum(op.multiply_adds or 0 for op in self._all_operators())

    @property
    def uncounted(self) -> collections.Counter[str]:
        """Operators whose multiply-adds nobody can tell, by name."""
        return collections.Counter(
            op.name for op in self._all_operators() if op.multiply_adds is None
        )

    @property
    def custom_bytes(self) -> int:
        """Bytes that custom operators hold of their own, an Edge TPU's program for example."""
        return sum(op.custom_bytes for op in self._all_operators())

    @property
    def minimum_runtime(self) -> str | None:
        """First TFLite release that runs all operators of which it is known; None for none."""
        first = (runtimes.first_release(name, version) for name, version in self.operators)
        return runtimes.newest(release for release in first if release is not None)

    @property
    def unknown_operators(self) -> list[tuple[str, int]]:
        """(name, version) of operators that are in no release: custom ones, and too new ones."""
        return sorted(key for key in self.operators if runtimes.first_release(*key) is None)

    def operator_table(self) -> str:
        """Every operator in a line: what it reads, writes and costs."""
        return inspection_text.operator_table(self)

    def tensor_table(self) -> str:
        """Every tensor in a line."""
        return inspection_text.tensor_table(self)

    def plot(self, path: str | os.PathLike | None = None):
        """Draws where the weights' bytes and the multiply-adds are; needs matplotlib.

        Args:
            path: Where to write it, a .png, .pdf or .svg file; by default nowhere.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show.

        Raises:
            ImportError: matplotlib is missing.
            ValueError: The path cannot be written.
        """
        from mobilequant import drawing
        from tflite_tools.inspection_plot import draw

        if path is not None:
            drawing.check_path(path)
        figure = draw(self)
        if path is not None:
            drawing.save(figure, path)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can have it."""
        return {
            "path": self.path,
            "size": self.size,
            "schema_version": self.schema_version,
            "description": self.description,
            "operators": [
                {"name": name, "version": version, "count": count}
                for (name, version), count in sorted(self.operators.items())
            ],
            "inputs": [dataclasses.asdict(tensor) for tensor in self.inputs],
            "outputs": [dataclasses.asdict(tensor) for tensor in self.outputs],
            "tensors": dict(self.tensors),
            "float_tensors": self.float_tensors,
            "parameters": self.parameters,
            "weight_bytes": self.weight_bytes,
            "multiply_adds": self.multiply_adds,
            "custom_bytes": self.custom_bytes,
            "uncounted": dict(self.uncounted),
            "minimum_runtime": self.minimum_runtime,
            "stated_runtime": self.stated_runtime,
            "unknown_operators": [
                {"name": name, "version": version} for name, version in self.unknown_operators
            ],
            "signatures": [dataclasses.asdict(signature) for signature in self.signatures],
            "metadata": self.metadata,
            "subgraphs": [dataclasses.asdict(subgraph) for subgraph in self.subgraphs],
        }

    def __str__(self):
        return inspection_text.overview(self)

    def _all_operators(self):
        return (op for subgraph in self.subgraphs for op in subgraph.operators)

    def _all_tensors(self):
        return (tensor for subgraph in self.subgraphs for tensor in subgraph.tensors)
