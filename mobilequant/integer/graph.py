"""The frozen graph: what a quantized model computes, as integers and scales only.

It is the one interface between a quantized Keras model and everything that reads it
(`tflite_tools` above all): per operator its integer weights, biases, scales, zero points, bits
and fused activation, and per tensor its scale and zero point. It holds NumPy arrays and plain
values, knows neither Keras nor flatbuffers, and has no batch: shapes are those of one element.

Layers that were left in float on purpose are in it as `FloatBlock`s, opaque to all but the one who
made them: DEQUANTIZE comes before a block, QUANTIZE where what it gives is int8 again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(eq=False)
class Tensor:
    """An int8 activation: real value = scale * (integer - zero_point).

    Attributes:
        name: Unique in its graph; the name of the Keras layer that computes it, with a suffix
            where one layer gives several tensors.
        shape: Static shape without the batch dimension; `()` is not possible.
        scale: float32, positive and finite.
        zero_point: int in [-128, 127].
        internal: Whether it lies inside one Keras layer that is several operators: inference in
            Keras does not show it.
    """

    name: str
    shape: tuple[int, ...]
    scale: np.float32
    zero_point: int
    internal: bool = False

    def same_grid(self, other: Tensor) -> bool:
        """Whether both tensors put the same real value behind the same integer."""
        return self.scale == other.scale and self.zero_point == other.zero_point


@dataclasses.dataclass(eq=False)
class FloatTensor:
    """A tensor between float layers, or between them and int8.

    Attributes:
        name: Unique in its graph, as that of a `Tensor`.
        shape: Static shape without the batch dimension.
        dtype: NumPy's name of its type; "float32" but inside of a block.
        internal: Whether it is the float form of an int8 tensor, which inference in Keras does
            not show.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    internal: bool = False


@dataclasses.dataclass(eq=False)
class IndexTensor:
    """Whole numbers that count something, as ARG_MAX gives them: int32, without a scale.

    Attributes:
        name: Unique in its graph, as that of a `Tensor`.
        shape: Static shape without the batch dimension.
    """

    name: str
    shape: tuple[int, ...]
    dtype = "int32"
    internal = False


@dataclasses.dataclass(eq=False)
class Weights:
    """Constant integers of an operator and the scale that makes them real values.

    Attributes:
        values: int8 array in Keras' layout (convolution `(*kernel, in / groups, out)`, depthwise
            `(*kernel, in, multiplier)`, dense `(in, out)`, transposed convolution
            `(*kernel, out, in)`), within [-127, 127].
        scales: float32 array, one element (per tensor) or one an output channel (depthwise: one
            for each of `in * multiplier`, in that order).
        bits: Bits that the integers need, 1 to 8.
        bias: int32 array, one an output channel, with scale `input scale * weight scale`; None
            where the operator has no bias.
    """

    values: np.ndarray
    scales: np.ndarray
    bits: int
    bias: np.ndarray | None


@dataclasses.dataclass(eq=False)
class Constant:
    """A constant int8 operand of an operator that takes activations, a summand for example.

    Attributes:
        values: int8 array, to be broadcast against one element *and* its batch dimension: shape
            `()` for one number, `(channels,)`, `(1, 1, channels)`, or the whole element's.
        scale: float32, positive and finite.
        zero_point: int in [-128, 127].
    """

    values: np.ndarray
    scale: np.float32
    zero_point: int = 0

    @classmethod
    def of(cls, values) -> Constant:
        """Real values as a constant, symmetric; the one of largest magnitude becomes ±127.

        Args:
            values: A number or an array of them, finite.
        """
        values = np.asarray(values, np.float32)
        scale = np.float32(np.abs(values).max() / np.float32(127))
        # Zeros have no scale, nor has what float32 cannot divide by.
        if scale < np.finfo(np.float32).tiny:
            scale = np.float32(1)
        return cls(np.clip(np.rint(values / scale), -127, 127).astype(np.int8), scale)

    @property
    def centred(self) -> np.ndarray:
        """The integers without their zero point, as float32 whole numbers."""
        return self.values.astype(np.float32) - np.float32(self.zero_point)


@dataclasses.dataclass(eq=False)
class Operator:
    """One integer operator.

    Attributes:
        kind: TFLite's builtin name, for example "CONV_2D".
        name: Name of the Keras layer that it comes from.
        inputs: Activation inputs in TFLite's order; `Tensor`s, but that of a QUANTIZE may be a
            `FloatTensor`.
        outputs: Activation outputs; `Tensor`s, but those of DEQUANTIZE and ARG_MAX.
        weights: Constant weights and bias, or None.
        activation: Fused activation, "NONE", "RELU", "RELU6" or "RELU_N1_TO_1".
        constants: Constant operands by their place among all operands (ADD of a tensor and a
            constant: {1: ...}; a constant minus a tensor: {0: ...}). The activations in `inputs`
            take the other places.
        options: What else defines the operator, by kind:
            CONV_2D: strides (2,), dilation (2,), padding "SAME" | "VALID".
            DEPTHWISE_CONV_2D: the same and multiplier.
            FULLY_CONNECTED: nothing; it acts on the last dimension, whatever the rank.
            BATCH_MATMUL: adj_x, adj_y (bool, False): last two dimensions come swapped.
            TRANSPOSE_CONV: strides (2,), padding; weights `(*kernel, out, in)`, as Keras' layer.
            AVERAGE_POOL_2D, MAX_POOL_2D: pool_size (2,), strides (2,), padding.
            ADD, SUB, MUL, MAXIMUM, MINIMUM: nothing; operands broadcast, one may be a constant.
            MEAN: axes (tuple of ints that count the batch dimension as 0), keepdims (bool).
            ARG_MAX: axis (int that counts the batch dimension as 0).
            REDUCE_MAX, REDUCE_MIN: as MEAN; on one grid.
            SOFTMAX: beta (1.0).
            DEQUANTIZE: nothing; from int8 to float.
            QUANTIZE: nothing; from one int8 grid to another, or from float to int8.
            ABS, ELU, EXP, HARD_SWISH, LOG, LOGISTIC, RELU, RELU6, RELU_N1_TO_1, RSQRT, SQRT, TANH:
            nothing.
            GELU: approximate (bool, False).  LEAKY_RELU: alpha (float).
            PRELU: nothing; its slopes are the constant at place 1.
            PAD: paddings, ((before, after), ...) without the batch dimension.
            RESHAPE: nothing (the output's shape says it).
            TRANSPOSE: permutation (tuple of ints that count the batch dimension, 0, which stays
            first).
            CONCATENATION: axis (int that counts the batch dimension as 0).
            RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR: align_corners, half_pixel_centers (bool,
            False); the output's shape says the size.
            SLICE: begin (ints without the batch dimension); the output's shape says the size.
            STRIDED_SLICE: begin, end, strides (positive ints without the batch dimension).
            DEPTH_TO_SPACE, SPACE_TO_DEPTH: block (int).
    """

    kind: str
    name: str
    inputs: list[Tensor | FloatTensor]
    outputs: list[Tensor | FloatTensor | IndexTensor]
    weights: Weights | None = None
    activation: str = "NONE"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    constants: dict[int, Constant] = dataclasses.field(default_factory=dict)

    @property
    def operands(self) -> list[Tensor | Constant]:
        """Activations and constants in TFLite's order."""
        activations = iter(self.inputs)
        count = len(self.inputs) + len(self.constants)
        return [
            self.constants[place] if place in self.constants else next(activations)
            for place in range(count)
        ]


@dataclasses.dataclass(eq=False)
class FloatBlock:
    """Connected float layers: a function that is none of this project's arithmetic.

    Attributes:
        name: Name of its first layer.
        layers: Names of its layers, for people.
        inputs: What it takes: float forms of int8 tensors, outputs of other blocks.
        outputs: What is needed of it outside.
        function: Takes as many batches as there are inputs, as a list of tensors, and returns the
            list of outputs; `tf.function` can trace it.
        parts: One block for each layer, to find the one at fault where the whole cannot be
            written.
    """

    name: str
    layers: list[str]
    inputs: list[FloatTensor]
    outputs: list[FloatTensor]
    function: Callable[[list], list]
    parts: list[FloatBlock] = dataclasses.field(default_factory=list)

    #: What reports call it, where operators have TFLite's name.
    kind = "FLOAT"


@dataclasses.dataclass(eq=False)
class FrozenGraph:
    """Operators in the order in which they run.

    Attributes:
        name: Name of the model.
        target: Name of the target that the model was quantized for.
        inputs: The graph's input tensors, in the order of `model.inputs`.
        outputs: The graph's output tensors, in the order of `model.outputs`; `FloatTensor`s
            where the last layer is a float one, `IndexTensor`s where it is an `ArgMax`.
        operators: All operators and blocks, each after those that compute its inputs.
        recipe: Name of the recipe, for reports.
    """

    name: str
    target: str
    inputs: list[Tensor]
    outputs: list[Tensor | FloatTensor | IndexTensor]
    operators: list[Operator | FloatBlock]
    recipe: str = ""

    @property
    def mixed(self) -> bool:
        """Whether anything in it is float."""
        return any(op.kind == "DEQUANTIZE" for op in self.operators)

    @property
    def float_blocks(self) -> list[FloatBlock]:
        """The parts that are float; none in a graph for an integer file."""
        return [op for op in self.operators if isinstance(op, FloatBlock)]

    @property
    def tensors(self) -> list[Tensor | FloatTensor | IndexTensor]:
        """All activation tensors: the inputs, then every operator's outputs in order."""
        return [*self.inputs, *(tensor for op in self.operators for tensor in op.outputs)]
