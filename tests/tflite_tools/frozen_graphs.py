"""Frozen graphs with random integers and scales, and what they compute, in NumPy.

The arithmetic is a second, independent writing of the rules that `mobilequant.integer` holds:
plain loops over the kernel, exact int64 sums, one float32 rounding where the device has one.
"""

from __future__ import annotations

import math

import numpy as np

from mobilequant.integer.graph import FrozenGraph, Operator, Tensor, Weights

f32 = np.float32


class Builder:
    """Adds operators one after the other; every method returns the new tensor."""

    def __init__(self, seed=0, target="phone", name="model"):
        self.random = np.random.default_rng(seed)
        self.graph = FrozenGraph(name, target, [], [], [], recipe="w8a8")

    def scale(self, around=0.02, spread=4.0):
        return f32(around * spread ** self.random.uniform(-1, 1))

    def tensor(self, name, shape, scale=None, zero_point=None):
        scale = self.scale() if scale is None else f32(scale)
        if zero_point is None:
            zero_point = int(self.random.integers(-128, 128))
        return Tensor(name, tuple(shape), scale, zero_point)

    def input(self, shape, name="image", **grid):
        self.graph.inputs.append(self.tensor(name, shape, **grid))
        return self.graph.inputs[-1]

    def conv(
        self, x, filters, kernel=3, strides=1, padding="SAME", activation="NONE", dilation=1,
        bias=True, name=None,
    ):  # fmt: skip
        height, width = _output_size(x, kernel, strides, padding, dilation)
        values = self._integers((kernel, kernel, x.shape[-1], filters))
        return self._weighted(
            "CONV_2D", x, (height, width, filters), values, filters, activation, bias, name,
            strides=(strides, strides), padding=padding, dilation=(dilation, dilation),
        )  # fmt: skip

    def depthwise(
        self, x, kernel=3, strides=1, padding="SAME", activation="NONE", multiplier=1, dilation=1,
        name=None,
    ):  # fmt: skip
        height, width = _output_size(x, kernel, strides, padding, dilation)
        channels = x.shape[-1] * multiplier
        values = self._integers((kernel, kernel, x.shape[-1], multiplier))
        return self._weighted(
            "DEPTHWISE_CONV_2D", x, (height, width, channels), values, channels, activation, True,
            name, strides=(strides, strides), padding=padding, dilation=(dilation, dilation),
            multiplier=multiplier,
        )  # fmt: skip

    def dense(self, x, units, activation="NONE", name=None, scales=1):
        values = self._integers((x.shape[-1], units))
        return self._weighted(
            "FULLY_CONNECTED", x, (*x.shape[:-1], units), values, scales, activation, True, name
        )

    def add(self, a, b, activation="NONE", name=None, **grid):
        return self._append("ADD", [a, b], a.shape, name, activation=activation, **grid)

    def mean(self, x, axes=(1, 2), keepdims=False, name=None, **grid):
        kept = [1 if i + 1 in axes else n for i, n in enumerate(x.shape)]
        shape = kept if keepdims else [n for i, n in enumerate(x.shape) if i + 1 not in axes]
        grid.setdefault("scale", x.scale * f32(self.random.uniform(0.3, 1.2)))
        return self._append("MEAN", [x], shape, name, axes=tuple(axes), keepdims=keepdims, **grid)

    def softmax(self, x, name=None):
        return self._append("SOFTMAX", [x], x.shape, name, scale=1 / 256, zero_point=-128, beta=1.0)

    def pad(self, x, paddings, name=None):
        shape = [n + before + after for n, (before, after) in zip(x.shape, paddings, strict=True)]
        grid = {"scale": x.scale, "zero_point": x.zero_point}
        return self._append("PAD", [x], shape, name, paddings=tuple(paddings), **grid)

    def reshape(self, x, shape, name=None):
        return self._append("RESHAPE", [x], shape, name, scale=x.scale, zero_point=x.zero_point)

    def finish(self, *outputs):
        self.graph.outputs.extend(outputs)
        return self.graph

    def _integers(self, shape):
        return self.random.integers(-127, 128, shape).astype(np.int8)

    def _weighted(
        self, kind, x, shape, values, scales, activation, bias, name, grid=None, **options
    ):
        terms = values.size // shape[-1]
        weight_scales = (0.01 * 3 ** self.random.uniform(-1, 1, scales)).astype("float32")
        channels = shape[-1]
        biases = self.random.integers(-20000, 20000, channels).astype(np.int32) if bias else None
        # So that the output's integers spread over most of int8.
        deviation = 73 * 73 * math.sqrt(terms)
        output_scale = f32(x.scale) * weight_scales.mean() * f32(deviation / 50)
        weights = Weights(values, weight_scales, 8, biases)
        return self._append(
            kind, [x], shape, name, weights=weights, activation=activation,
            scale=output_scale, **options,
        )  # fmt: skip

    def _append(
        self, kind, inputs, shape, name, scale=None, zero_point=None, weights=None,
        activation="NONE", **options,
    ):  # fmt: skip
        name = name or f"{kind.lower()}_{len(self.graph.operators)}"
        output = self.tensor(name, shape, scale, zero_point)
        self.graph.operators.append(
            Operator(kind, name, inputs, [output], weights, activation, options)
        )
        return output


def classifier(seed=0, size=16, classes=10, target="phone", softmax=True):
    """A small MobileNetV2: stem, an inverted bottleneck with its addition, mean, head."""
    b = Builder(seed, target, "classifier")
    x = b.input((size, size, 3), scale=2 / 255, zero_point=-1)
    x = b.conv(x, 8, strides=2, activation="RELU6", name="stem")
    y = b.conv(x, 24, kernel=1, activation="RELU6", name="expand")
    y = b.depthwise(y, activation="RELU6", name="depthwise")
    y = b.conv(y, 8, kernel=1, name="project")
    grid = {"scale": max(x.scale, y.scale) * f32(1.3), "zero_point": 3}
    x = b.add(x, y, name="add", **grid)
    x = b.pad(x, ((0, 1), (0, 1), (0, 0)), name="pad")
    x = b.depthwise(x, strides=2, padding="VALID", activation="RELU6", name="downsample")
    x = b.mean(x, name="pool")
    x = b.dense(x, classes, name="logits")
    if softmax:
        # Logits of a real classifier span tens of units, not millions.
        x.scale = f32(0.1)
        op = b.graph.operators[-1]
        op.weights.scales = (
            x.scale * f32(50 / (73 * 73 * math.sqrt(8))) / op.inputs[0].scale
        ).reshape(1)
        x = b.softmax(x, name="probabilities")
    return b.finish(x)


def random_inputs(graph, count, seed=0):
    """int8 inputs over the whole range, one array an input."""
    random = np.random.default_rng(seed)
    return [
        random.integers(-128, 128, (count, *tensor.shape)).astype(np.int8)
        for tensor in graph.inputs
    ]


def run(graph, inputs):
    """Integers of every activation tensor of a graph, by name."""
    tensors = {t.name: np.asarray(x, np.int8) for t, x in zip(graph.inputs, inputs, strict=True)}
    for op in graph.operators:
        arrays = [tensors[t.name].astype(np.int64) for t in op.inputs]
        tensors[op.outputs[0].name] = _REFERENCE[op.kind](op, *arrays)
    return tensors


def _convolution(op, q):
    options, kernel = op.options, op.weights.values.astype(np.int64)
    patches = _patches(q - op.inputs[0].zero_point, kernel.shape[:2], options)
    if op.kind == "DEPTHWISE_CONV_2D":
        acc = np.einsum("nhwklc,klcm->nhwcm", patches, kernel)
        acc = acc.reshape(*acc.shape[:3], -1)
    else:
        acc = np.einsum("nhwklc,klco->nhwo", patches, kernel, optimize=True)
    return _requantize(op, acc)


def _fully_connected(op, q):
    return _requantize(op, (q - op.inputs[0].zero_point) @ op.weights.values.astype(np.int64))


def _requantize(op, acc):
    if op.weights.bias is not None:
        acc = acc + op.weights.bias
    assert np.abs(acc).max() < 2**31
    x, y = op.inputs[0], op.outputs[0]
    multiplier = (f32(x.scale) * op.weights.scales) / f32(y.scale)
    low, high = _bounds(op)
    scaled = np.rint(acc.astype(f32) * multiplier).astype(np.float64)
    return np.clip(scaled + y.zero_point, low, high).astype(np.int8)


def _add(op, a, b):
    x, y, out = *op.inputs, op.outputs[0]
    ratios = f32(x.scale) / f32(out.scale), f32(y.scale) / f32(out.scale)
    shift = 20 - math.floor(math.log2(max(ratios)))
    m_a, m_b = (round(float(ratio) * 2**shift) for ratio in ratios)
    acc = m_a * (a - x.zero_point) + m_b * (b - y.zero_point)
    scaled = np.clip((acc + (1 << (shift - 1))) >> shift, -32768, 32767)
    return np.clip(scaled + out.zero_point, *_bounds(op)).astype(np.int8)


def _mean(op, q):
    x, y, axes = op.inputs[0], op.outputs[0], op.options["axes"]
    count = math.prod(q.shape[axis] for axis in axes)
    scale = f32(f32(x.scale) / f32(y.scale)) * f32(1 / count)
    constant = f32(y.zero_point) - f32(x.zero_point * count) * scale
    total = q.sum(axis=axes, keepdims=op.options["keepdims"])
    return np.clip(np.rint(total.astype(f32) * scale + constant), -128, 127).astype(np.int8)


def _softmax(op, q):
    distance = (q - q.max(axis=-1, keepdims=True)).astype(f32)
    e = np.exp(distance * f32(op.inputs[0].scale))
    y = e / e.sum(axis=-1, keepdims=True) * 256
    return np.clip(np.floor(y + 0.5) - 128, -128, 127).astype(np.int8)


def _pad(op, q):
    paddings = ((0, 0), *op.options["paddings"])
    return np.pad(q, paddings, constant_values=op.inputs[0].zero_point).astype(np.int8)


def _reshape(op, q):
    return q.reshape(len(q), *op.outputs[0].shape).astype(np.int8)


def _bounds(op):
    y = op.outputs[0]
    low, high = {
        "NONE": (None, None),
        "RELU": (0, None),
        "RELU6": (0, 6),
        "RELU_N1_TO_1": (-1, 1),
    }[op.activation]

    def bound(value, otherwise):
        if value is None:
            return otherwise
        return int(np.clip(np.rint(f32(value) / f32(y.scale) + f32(y.zero_point)), -128, 127))

    return bound(low, -128), bound(high, 127)


def _output_size(x, kernel, strides, padding, dilation):
    reach = (kernel - 1) * dilation + 1
    if padding == "SAME":
        return [-(-n // strides) for n in x.shape[:2]]
    return [(n - reach) // strides + 1 for n in x.shape[:2]]


def _patches(x, kernel, options):
    """(batch, height, width, *kernel, channels): what each output element sees."""
    strides, dilation = options["strides"], options["dilation"]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if options["padding"] == "SAME":
        total = [
            max((-(-n // s) - 1) * s + r - n, 0)
            for n, s, r in zip(x.shape[1:3], strides, reach, strict=True)
        ]
        x = np.pad(x, ((0, 0), *((t // 2, t - t // 2) for t in total), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    windows = windows[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]
    return np.moveaxis(windows, 3, -1)


_REFERENCE = {
    "ADD": _add,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _fully_connected,
    "MEAN": _mean,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
}
